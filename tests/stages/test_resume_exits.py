"""A second stage that is killed in its middle ends with the weights of the one that never was."""

import os
import random
import signal

import pytest
import tiny
import torch
from test_resume import _exit_code, _weights

RECIPE = {
    "exits": {"head": "pooled"},
    "finetune": {"epochs": 1, "learning_rate": 1e-3},
    "train_exits": {"epochs": 3, "learning_rate": 1e-2, "copy_last_exit": True},
    "stages": ["finetune", "train_exits"],
}
STEPS = 3 * 7  # 100 examples in batches of 16


def _apply_and_die(output, step):
    """In a process of its own: SIGKILL to itself as the exits' training begins a step, if it comes to it."""
    from prunekit.stages.training.trainer import StageTrainer

    torch.set_num_threads(1)
    train = StageTrainer.training_step

    def step_or_die(self, *args, **kwargs):
        if self.name.startswith("train_exits") and self.state.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return train(self, *args, **kwargs)

    StageTrainer.training_step = step_or_die
    tiny.apply(output, **RECIPE)


@pytest.mark.slow
def test_killed_as_it_trains_exits_and_resumed_the_weights_are_the_same_bits(tmp_path):
    seed = random.SystemRandom().randrange(10**6)
    print(f"steps drawn from seed {seed}")
    assert _exit_code(_apply_and_die, tmp_path / "unbroken", None) == 0
    for step in sorted(random.Random(seed).sample(range(STEPS), 3)):
        assert _exit_code(_apply_and_die, tmp_path / "broken", step) == -signal.SIGKILL
    assert _exit_code(_apply_and_die, tmp_path / "broken", None) == 0
    unbroken, broken = _weights(tmp_path / "unbroken/tiny"), _weights(tmp_path / "broken/tiny")
    assert list(unbroken) == list(broken) and len(broken) == 2
    for file, weights in unbroken.items():
        assert list(weights) == list(broken[file])
        for name, tensor in weights.items():
            assert torch.equal(tensor, broken[file][name]), f"{file}: {name}"
    assert not list((tmp_path / "broken/tiny").rglob("checkpoint-*"))
