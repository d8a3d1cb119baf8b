"""A command line to call, and a finished run, a model and a data set to call it on."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

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
)


@dataclass
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def prunekit(tmp_path, monkeypatch, capsys):
    """``prunekit(*arguments)`` in this process, in an empty working folder."""
    from prunekit import cli, console

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)

    def call(*arguments):
        capsys.readouterr()
        console.setup()
        code = cli.run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return call


def spawn(*arguments, cwd, **more):
    """The same in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "prunekit", *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **OFFLINE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def wait(process, timeout=240):
    out, err = process.communicate(timeout=timeout)
    return Said(process.returncode, out, err)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder with a finished ``runs/costeff``."""
    folder = tmp_path_factory.mktemp("finished")
    said = wait(spawn("apply", "costeff", *TINY, cwd=folder))
    assert said.code == 0, said.err
    return folder, said


@pytest.fixture
def tables(tmp_path):
    """Training and test files: two columns, two classes."""
    rows = [f"a {'good' if n % 2 else 'bad'} film number {n}\t{'pos' if n % 2 else 'neg'}" for n in range(60)]
    (tmp_path / "train.tsv").write_text("sentence\tlabel\n" + "\n".join(rows) + "\n")
    (tmp_path / "test.tsv").write_text("sentence\tlabel\n" + "\n".join(rows[:20]) + "\n")
    return ["data.task=mine", "data.train_file=train.tsv", "data.test_file=test.tsv", "data.train_size=null",
            "data.validation_size=null", "data.test_size=null"]  # fmt: skip
