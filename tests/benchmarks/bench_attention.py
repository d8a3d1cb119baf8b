"""What a training step in bfloat16 costs on a processor, against one with PyTorch's fused attention.

    python tests/benchmarks/bench_attention.py        # prints the table

The student of ``bench_cache.py`` (a MiniLM at "8x": 2 heads, 128 neurons, rank 64) learns, without dropout,
hidden states that are given. Steps of both kinds alternate, so that a busy machine slows both.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from bench_cache import VOCABULARY, slender
from random_bert import random_bert
from torch import Tensor

from prunekit.distill import LiveTeacher, Teacher, TeacherOutput
from prunekit.stages.training import objectives
from prunekit.stages.training.attention import trained_attention
from prunekit.stages.training.fit import dropout_of
from prunekit.stages.training.precision import cpu_is_quicker_in_bfloat16

LIMIT = 0.9
BATCH, STEPS = 32, 10

Kernel = Callable[[Any], AbstractContextManager[Any]]


class Given(Teacher):
    """Answers that cost nothing, to one batch."""

    def __init__(self, output: TeacherOutput) -> None:
        self.output = output

    def __call__(self, batch: Any, hidden_states: bool = False) -> TeacherOutput:
        return self.output


def batch_of(length: int) -> dict[str, Tensor]:
    """Sentences of equal length."""
    ids = torch.randint(5, VOCABULARY, (BATCH, length), generator=torch.Generator().manual_seed(0))
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": torch.zeros(BATCH, dtype=torch.int64),
        "index": torch.arange(BATCH),
    }


class Steps:
    """A student in training with one kind of attention."""

    def __init__(self, kernel: Kernel, taught: TeacherOutput) -> None:
        self.kernel = kernel
        self.model = slender().train()
        self.objective = objectives.Objective([objectives.features()], Given(taught))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=True)
        self.seconds = 0.0

    def step(self, batch: dict[str, Tensor]) -> None:
        """Train on a batch, and take the time."""
        begun = time.process_time()
        objectives.trained_attention = self.kernel  # type: ignore[assignment]
        try:
            with torch.autocast("cpu", torch.bfloat16), dropout_of(self.model, 0.0):
                loss = self.objective(self.model, batch)
        finally:
            objectives.trained_attention = trained_attention
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.seconds += time.process_time() - begun


def measure(length: int) -> float:
    """Seconds with the attention that is trained with, against PyTorch's choice."""
    batch = batch_of(length)
    taught = LiveTeacher(random_bert(VOCABULARY))(batch, hidden_states=True)
    ours, theirs = Steps(trained_attention, taught), Steps(lambda model: nullcontext(), taught)
    for number in range(STEPS + 1):
        for steps in (ours, theirs) if number % 2 else (theirs, ours):
            steps.step(batch)
            if number == 0:  # it warms the libraries up
                steps.seconds = 0.0
    return ours.seconds / theirs.seconds


@pytest.mark.benchmark
@pytest.mark.skipif(not cpu_is_quicker_in_bfloat16(), reason="the processor is no quicker in bfloat16")
def test_a_training_step_in_bfloat16_is_faster_than_with_fused_attention() -> None:
    assert measure(24) <= LIMIT


if __name__ == "__main__":
    torch.set_num_threads(1)
    for length in (16, 24, 48, 96):
        print(f"{length:3d} tokens: {measure(length):.2f} of the time")
