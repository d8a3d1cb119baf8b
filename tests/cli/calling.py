"""Calling the command line in a process of its own, and the smallest run that goes through every stage."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONPATH": str(ROOT),
}
# The smallest run that goes through every stage.
TINY = (
    "model.config={hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 4, intermediate_size: 16}",
    "data.train_size=64",
    "data.validation_size=32",
    "data.test_size=32",
    "training.batch_size=16",
    "training.threads=1",
    "finetune.epochs=0.5",
    "assistant.epochs=0.5",
    "slenderize.heads=2",
    "slenderize.neurons=8",
    "slenderize.rank=8",
    "slenderize.interval_epochs=0.25",
    "recover.features_epochs=0.25",
    "recover.epochs=0.25",
    "compare=null",
)


@dataclass
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


def heed_interrupts():
    """A process started in the background of a script ignores them, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def spawn(*arguments, cwd, preexec_fn=heed_interrupts):
    """The same in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "prunekit", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **OFFLINE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preexec_fn,
    )


def wait(process, timeout=240):
    out, err = process.communicate(timeout=timeout)
    return Said(process.returncode, out, err)
