"""What a recovery epoch costs with the teacher's answers cached, against asking the teacher for every batch.

    python tests/benchmarks/bench_cache.py            # prints the table

The teacher has the sizes of MiniLM (6 layers, hidden size 384, 12 heads, 1536 neurons, 30,522 words) with an
exit on every layer; the student is it at "8x": 2 heads, 128 neurons, rank 64. A step is what recovery does:
hidden states and predictions distilled without dropout, backward, clipping, fused AdamW. Every batch is
trained on once with each teacher, alternately, so that a busy machine slows both; the ratio is of the two
epochs' sums.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from random_bert import random_bert
from torch import Tensor

from prunekit.distill import CachedTeacher, LiveTeacher, Teacher
from prunekit.exits import MultiExitForSequenceClassification
from prunekit.pruner import Pruner
from prunekit.stages.training.batches import EpochSampler, Rows
from prunekit.stages.training.fit import dropout_of
from prunekit.stages.training.objectives import Objective, features, predictions

LIMIT = 0.5
EXAMPLES, BATCH, VOCABULARY = 512, 32, 30522


def slender() -> MultiExitForSequenceClassification:
    """The student at 8x."""
    model = random_bert(VOCABULARY)
    budget = {"name": "sizes", "heads": 2, "neurons": 128, "rank": 64}
    Pruner(model, ["heads", "neurons", "rank"], "random", budget=budget).step()
    return model


def split() -> tuple[Dataset, np.ndarray]:
    """Sentences of 5 to 45 tokens, most of them short, as in SST-2."""
    draw = np.random.default_rng(0)
    lengths = np.clip(draw.gamma(2.0, 8.0, EXAMPLES), 5, 45).astype(np.int64)
    rows = [draw.integers(5, VOCABULARY, n).tolist() for n in lengths]
    columns = {"input_ids": rows, "labels": [0] * EXAMPLES, "index": list(range(EXAMPLES))}
    return Dataset.from_dict(columns).with_format("torch"), lengths


def collate(rows: Any) -> dict[str, Tensor]:
    """Pad on the right."""
    ids = torch.nn.utils.rnn.pad_sequence([row["input_ids"] for row in rows], batch_first=True)
    return {
        "input_ids": ids,
        "attention_mask": (ids > 0).long(),
        "labels": torch.stack([row["labels"] for row in rows]),
        "index": torch.stack([row["index"] for row in rows]),
    }


class Recovery:
    """A student in training under one teacher."""

    def __init__(self, teacher: Teacher, autocast: bool) -> None:
        self.model = slender().train()
        self.objective = Objective([features(), predictions()], teacher)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=True)
        self.autocast = autocast
        self.seconds = 0.0
        self.losses: list[float] = []

    def step(self, batch: dict[str, Tensor], seed: int) -> None:
        """Train on a batch, and take the time."""
        torch.manual_seed(seed)
        begun = time.perf_counter()
        autocast = torch.autocast("cpu", torch.bfloat16) if self.autocast else nullcontext()
        with autocast, dropout_of(self.model, 0.0):
            loss = self.objective(self.model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses.append(loss.item())
        self.seconds += time.perf_counter() - begun


def measure(autocast: bool, folder: Path) -> tuple[Recovery, Recovery, float, int]:
    """One epoch with each teacher; also the seconds that writing the cache took, and its bytes."""
    dataset, lengths = split()
    teacher = random_bert(VOCABULARY)
    begun = time.perf_counter()
    cached = CachedTeacher.build(
        teacher, dataset, lengths, collate, folder, autocast=torch.bfloat16 if autocast else None
    )
    writing = time.perf_counter() - begun
    live, remembered = Recovery(LiveTeacher(teacher), autocast), Recovery(cached, autocast)
    rows, order = Rows(dataset), EpochSampler(lengths, BATCH, 0, True).order(0)
    for number, begin in enumerate(range(0, EXAMPLES, BATCH)):
        batch = collate([rows[int(row)] for row in order[begin : begin + BATCH]])
        if number == 0:  # the first step of all warms the libraries up
            for recovery in (live, remembered):
                recovery.step(batch, 0)
                recovery.seconds, recovery.losses = 0.0, []
            continue
        for recovery in (live, remembered) if number % 2 else (remembered, live):
            recovery.step(batch, number)
    return live, remembered, writing, cached.shape.nbytes


@pytest.mark.benchmark
def test_a_recovery_epoch_with_the_cache_takes_at_most_half_the_time(tmp_path: Path) -> None:
    live, cached, _, _ = measure(False, tmp_path)
    assert cached.seconds <= LIMIT * live.seconds
    # The students learned the same: in float32 the cache changes nothing.
    np.testing.assert_allclose(cached.losses, live.losses, rtol=1e-4)


if __name__ == "__main__":
    for autocast in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            live, cached, writing, nbytes = measure(autocast, Path(folder))
        print(
            f"{'bfloat16' if autocast else 'float32 '}  epoch: teacher asked {live.seconds:6.2f} s, "
            f"cached {cached.seconds:6.2f} s, ratio {cached.seconds / live.seconds:.2f}; "
            f"writing the cache once {writing:.2f} s, {nbytes / 2**20:.0f} MiB"
        )
