"""A run that is killed, at any moment, ends with the weights of the run that never was."""

import multiprocessing
import os
import random
import signal
import threading
import time

import pytest
import tiny
import torch
from safetensors.torch import load_file

from prunekit.stages.metrics import MetricsLog


def _apply_and_die(output, seconds):
    """In a process of its own: SIGKILL to itself after some seconds, wherever it is then."""
    torch.set_num_threads(1)

    def die():
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    if seconds is not None:
        threading.Thread(target=die, daemon=True).start()
    tiny.apply(output, recover={"augmentation": {"copies": 2}})


def _weights(folder):
    return {str(f.relative_to(folder)): load_file(f) for f in sorted(folder.rglob("model.safetensors"))}


def _exit_code(target, *args):
    # The server imports everything once; its children start at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tiny", "prunekit.stages.training.fit", "prunekit.pruner"])
    child = context.Process(target=target, args=args)
    child.start()
    child.join()
    return child.exitcode


def _until_done(output, draw, longest):
    """Apply, kill after a random time, apply again, ...; number of kills."""
    for kills in range(50):
        # Later ones get more time, so that a slow machine comes to an end as well.
        code = _exit_code(_apply_and_die, output, draw.uniform(0.2, longest) * (1 + kills / 5))
        if code == 0:
            return kills
        assert code == -signal.SIGKILL
    raise AssertionError("the run never ended")


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_the_weights_are_the_same_bits(tmp_path):
    seed = random.SystemRandom().randrange(10**6)
    print(f"moments drawn from seed {seed}")
    draw = random.Random(seed)
    assert _exit_code(time.time) == 0  # the server is there
    begun = time.monotonic()
    assert _exit_code(_apply_and_die, tmp_path / "unbroken", None) == 0
    unbroken_seconds = time.monotonic() - begun
    kills = _until_done(tmp_path / "broken", draw, unbroken_seconds / 4)
    assert kills >= 3
    unbroken, broken = _weights(tmp_path / "unbroken/tiny"), _weights(tmp_path / "broken/tiny")
    assert list(unbroken) == list(broken) and len(broken) == 5
    for file, weights in unbroken.items():
        assert list(weights) == list(broken[file])
        for name, tensor in weights.items():
            assert torch.equal(tensor, broken[file][name]), f"{file}: {name}"
    _same_measurements(tmp_path)
    assert not list((tmp_path / "broken/tiny").rglob("checkpoint-*"))


def _same_measurements(folder):
    def measured(run):
        return [
            {k: v for k, v in record.items() if k not in ("seconds", "loss")}
            for record in MetricsLog(folder / run / "tiny/metrics.jsonl").records()
        ]

    def sort(records):
        return sorted(records, key=lambda r: (r["stage"], r["phase"], r["kind"], r["step"]))

    assert sort(measured("unbroken")) == sort(measured("broken"))
