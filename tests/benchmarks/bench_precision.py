"""What training steps cost in bfloat16 against float32, on a processor, for models of different width.

    python tests/benchmarks/bench_precision.py        # prints the table

The dense models have 6 layers: width 128, 8 heads, 512 neurons, and width 384, 12 heads, 1536 neurons. Of
their heads, neurons and embedding ranks a share is kept. A step is forward and backward without dropout, on
768 tokens; steps of both kinds alternate, so that a busy machine slows both.
"""

from __future__ import annotations

import time
from contextlib import nullcontext

import pytest
import torch
from random_bert import random_bert

from prunekit.exits import MultiExitForSequenceClassification
from prunekit.pruner import Pruner
from prunekit.stages.training.attention import trained_attention
from prunekit.stages.training.fit import dropout_of
from prunekit.stages.training.precision import (
    WORTH_CASTING,
    autocast_dtype,
    cpu_is_quicker_in_bfloat16,
    multiply_adds_per_number,
)

# What `auto` may cost against the other: near the break-even neither is better.
LIMIT = 1.2
VOCABULARY, STEPS = 500, 10
SIZES = {"128 wide": (128, 8, 64, 12), "384 wide": (384, 12, 32, 24)}
KEPT = (1.0, 0.5, 0.25, 0.125)


def made(width: int, heads: int, kept: float) -> MultiExitForSequenceClassification:
    """Random weights, a share of the units kept."""
    model = random_bert(VOCABULARY, width, heads)
    if kept < 1:
        Pruner(model, ["heads", "neurons", "rank"], "random", budget={"name": "ratio", "keep": kept}).step()
    return model.train()


def seconds(
    model: MultiExitForSequenceClassification, batch: dict[str, torch.Tensor], bfloat16: bool
) -> float:
    """Of one step."""
    begun = time.process_time()
    with torch.autocast("cpu", torch.bfloat16) if bfloat16 else nullcontext(), trained_attention(model):
        loss = model(**batch).loss
    loss.backward()
    model.zero_grad()
    return time.process_time() - begun


def measure(size: str, kept: float) -> tuple[MultiExitForSequenceClassification, float]:
    """A model, and the time of its steps in bfloat16 against that in float32."""
    torch.set_num_threads(1)
    width, heads, examples, length = SIZES[size]
    model = made(width, heads, kept)
    ids = torch.randint(5, VOCABULARY, (examples, length), generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids[:, 0] % 2}
    times = {True: 0.0, False: 0.0}
    with dropout_of(model, 0.0):
        for number in range(STEPS + 1):
            for bfloat16 in (True, False) if number % 2 else (False, True):
                taken = seconds(model, batch, bfloat16)
                times[bfloat16] += taken if number else 0.0  # the first warms the libraries up
    return model, times[True] / times[False]


@pytest.mark.benchmark
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kept", KEPT)
def test_what_auto_chooses_is_hardly_slower_than_the_other(size: str, kept: float) -> None:
    model, ratio = measure(size, kept)
    chosen = autocast_dtype("auto", torch.device("cpu"), model)
    assert (ratio if chosen is torch.bfloat16 else 1 / ratio) <= LIMIT


if __name__ == "__main__":
    gains = f"from {WORTH_CASTING:.0f} multiply-adds for each number on"
    print("bfloat16 is chosen", gains if cpu_is_quicker_in_bfloat16() else "for none on this processor")
    for size in SIZES:
        for kept in KEPT:
            model, ratio = measure(size, kept)
            print(
                f"{size}, {kept:5.1%} kept: {multiply_adds_per_number(model):4.0f} multiply-adds for each "
                f"number; bfloat16 takes {ratio:.2f} of float32's time",
                flush=True,
            )
