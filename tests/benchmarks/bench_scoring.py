"""What a scoring pass costs, against the same forward and backward passes without scoring.

    python tests/benchmarks/bench_scoring.py          # prints the table

A BERT-like encoder (6 layers, hidden size 384, 12 heads, 1536 neurons) with an exit on every layer scores its
heads and neurons on a batch of 32 sentences of 32 tokens. The yardstick is forward and backward with the
gradients of all parameters, in evaluation mode, on the same model and batch. Repetitions are interleaved, so
that a busy machine slows all of them; a ratio is the median over the repetitions. Memory is the highest sum
of what torch's CPU allocator held during the pass, beyond what it held before, as the profiler records it.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable

import pytest
import torch
from random_bert import random_bert
from torch import nn
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile

from prunekit.granularities import registry as granularities
from prunekit.groups import Group
from prunekit.scorers import registry as scorers

# Name -> the highest ratio of time that is accepted.
LIMITS = {"taylor": 0.75, "multi_exit_taylor": 0.75, "taylor_example": 0.75, "taylor_published": 1.25}
BATCH, TOKENS, VOCABULARY = 32, 32, 3000

Batch = tuple[torch.Tensor, torch.Tensor]


def exit_losses(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Cross-entropy of every exit: ``[E]``."""
    input_ids, labels = batch
    logits = model(input_ids=input_ids, all_exits=True).exit_logits
    return torch.stack([cross_entropy(exit_logits, labels) for exit_logits in logits])


def setting() -> tuple[nn.Module, list[Group], Batch]:
    """The model, its heads and neurons, and one batch."""
    model = random_bert(VOCABULARY, reads="first").eval()
    groups = [g for name in ("heads", "neurons") for g in granularities.build(name).groups(model)]
    batch = (torch.randint(VOCABULARY, (BATCH, TOKENS)), torch.randint(2, (BATCH,)))
    return model, groups, batch


def passes(model: nn.Module, groups: list[Group], batch: Batch) -> dict[str, Callable[[], object]]:
    """The yardstick, ``"none"``, and a scoring pass of every scorer."""

    def without_scoring() -> None:
        model.zero_grad(set_to_none=True)
        exit_losses(model, batch).sum().backward()
        model.zero_grad(set_to_none=True)

    def scoring(name: str) -> Callable[[], object]:
        scorer = scorers.build(name)
        return lambda: scorer.score(model, groups, [batch], exit_losses)

    return {"none": without_scoring, **{name: scoring(name) for name in LIMITS}}


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_bytes(run: Callable[[], object]) -> int:
    """Most that torch's CPU allocator held at once during ``run``, beyond what it held before."""
    run()
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run()
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def measure(repetitions: int = 7) -> dict[str, dict[str, float]]:
    """Name -> time ratio, peak ratio, and extra peak in bytes, all against ``"none"``."""
    runs = passes(*setting())
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repetitions):
        for name, run in runs.items():
            times[name].append(seconds(run))
    peaks = {name: peak_bytes(run) for name, run in runs.items()}
    return {
        name: {
            "time": statistics.median(t / n for t, n in zip(times[name], times["none"], strict=True)),
            "seconds": statistics.median(times[name]),
            "peak": peaks[name] / peaks["none"],
            "peak_bytes": peaks[name],
        }
        for name in runs
    }


@pytest.mark.benchmark
def test_scoring_is_cheaper_than_training() -> None:
    """Time within the limits, and no more memory than the same passes without scoring."""
    result = measure()
    print(table(result))
    for name, limit in LIMITS.items():
        assert result[name]["time"] <= limit, name
        assert result[name]["peak"] <= 1.0, name


@pytest.mark.benchmark
def test_scores_outlive_the_pass_as_one_number_a_unit() -> None:
    """What is left after scoring is the scores: 4 bytes a unit."""
    model, groups, batch = setting()
    for name in LIMITS:
        scores = scorers.build(name).score(model, groups, [batch], exit_losses)
        held = sum(value.untyped_storage().nbytes() for value in scores.values())
        assert held == 4 * sum(g.size for g in groups)
        assert all(p.grad is None for p in model.parameters())


def table(result: dict[str, dict[str, float]]) -> str:
    lines = [f"{'pass':<20}{'time':>8}{'limit':>8}{'seconds':>10}{'peak':>8}{'MB':>8}"]
    for name, row in result.items():
        limit = f"{LIMITS[name]:.2f}" if name in LIMITS else ""
        lines.append(
            f"{name:<20}{row['time']:>8.2f}{limit:>8}{row['seconds']:>10.3f}{row['peak']:>8.2f}"
            f"{row['peak_bytes'] / 2**20:>8.1f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(table(measure()))
