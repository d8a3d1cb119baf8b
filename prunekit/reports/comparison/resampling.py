"""What of a difference is chance: a paired bootstrap over examples and seeds.

Each resample draws examples with replacement, the same for every system and every seed, and seeds with
replacement, the same for both systems of a pair. Examples are drawn once for all seeds, because all seeds
answer the same examples: drawn anew for each seed they would count as so many more examples than there are.

On such crossed designs it errs on the careful side (A. B. Owen, "The pigeonhole bootstrap", 2007): what
differs from training to training on single examples counts up to three times, so intervals over several seeds
are too wide (by up to 1.7) where trainings do not differ as a whole, and about right where they do. Few seeds
show too little of how trainings differ, which pulls the other way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...data.metrics import score
from ..outputs import Integers
from .curves import TINY, Array, area, staircase

_CHUNK = 500


@dataclass(frozen=True)
class Answers:
    """What one run answers under each of its policies.

    Args:
        labels: ``[N]``.
        predictions: label answered under each policy ``[P, N]``; one policy is free (see ``curves``).
        costs: multiply-adds each example takes under each policy ``[P, N]``.
        by: what a curve picks policies by ``[P]``; ``None``: their scores on these examples.
        chosen: label answered under the chosen policy ``[N]``.
    """

    labels: Integers
    predictions: Integers
    costs: Integers
    by: Array | None
    chosen: Integers


@dataclass(frozen=True)
class Resampled:
    """Figures of one run in every resample, ``[R]``; ``curve`` at budgets that were asked for, ``[R, B]``."""

    chosen: Array
    area: Array
    curve: Array | None = None


def example_draws(examples: int, resamples: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    """Positions of drawn examples, in chunks ``[r, N]``; the same for the same arguments."""
    random = np.random.default_rng([seed, examples])
    for start in range(0, resamples, _CHUNK):
        yield random.integers(0, examples, (min(_CHUNK, resamples - start), examples))


def seed_draws(seeds: int, resamples: int, seed: int) -> npt.NDArray[np.int64]:
    """Positions of drawn seeds ``[R, S]``."""
    return np.random.default_rng([seed, seeds, 1]).integers(0, seeds, (resamples, seeds))


def resample(
    answers: Answers,
    metric: str,
    budget: float,
    resamples: int,
    seed: int,
    budgets: Array | None = None,
) -> Resampled:
    """Main score under the chosen policy and area under the curve, in every resample of the examples.

    Costs are resampled along with scores, and steps of the curve move with them.

    Args:
        budget: the area's.
        budgets: where the curve itself is wanted.
    """
    labels = answers.labels
    rows, back = _distinct(answers.predictions, answers.costs)
    everything = np.concatenate([answers.predictions[rows], answers.chosen[None]])
    costs = answers.costs[rows].astype(np.float64).T
    parts: list[tuple[Array, ...]] = []
    for drawn in example_draws(len(labels), resamples, seed):
        counts = _counts(drawn)
        scores = resampled_scores(metric, labels, everything, counts)
        # Sums are whole and exact, so that a cost all examples share stays the same number.
        spent, reached = (counts @ costs / len(labels))[:, back], scores[:, :-1][:, back]
        by = reached if answers.by is None else answers.by
        part: tuple[Array, ...] = (scores[:, -1], area(spent, reached, by, budget))
        if budgets is not None:
            part += (staircase(budgets, spent, reached, by),)
        parts.append(part)
    return Resampled(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def paired_difference(
    first: Array, second: Array, drawn_seeds: npt.NDArray[np.int64]
) -> tuple[float, float, float]:
    """95 % interval and two-sided p of first minus second.

    Args:
        first, second: figures of each seed's run in every resample ``[R, S]``, of the same draws of examples.
        drawn_seeds: ``[R, S]``.

    Returns:
        Low, high (2.5 and 97.5 % quantiles), and p: twice the share of resamples on the rarer side of 0, the
        sample itself counted as one of them. What rounding alone tells from 0 is 0.
    """
    each = np.take_along_axis(first - second, drawn_seeds, axis=1).mean(axis=1)
    each[np.abs(each) < TINY] = 0
    low, high = np.quantile(each, [0.025, 0.975])
    rarer = min(int((each <= 0).sum()), int((each >= 0).sum()))
    return float(low), float(high), min(1.0, 2 * (rarer + 1) / (len(each) + 1))


def resampled_scores(metric: str, labels: Integers, predictions: Integers, counts: Array) -> Array:
    """Scores ``[R, P]`` of predictions ``[P, N]`` where example n counts ``counts[r, n]`` times.

    All metrics of ``prunekit.data.metrics`` that are made of counts by class are computed for all resamples
    at once; another one resample by resample.
    """
    if metric == "accuracy":
        # Whole numbers, exact in float32; their quotients are not.
        right = (counts @ (predictions == labels).astype(counts.dtype).T).astype(np.float64)
        return right / counts.sum(axis=1, keepdims=True, dtype=np.float64)
    if metric not in ("f1", "f1_macro", "matthews"):
        return _one_by_one(metric, labels, predictions, counts)
    classes = [1] if metric == "f1" else range(int(max(labels.max(), predictions.max())) + 1)
    right, said, true = (
        np.stack([counts @ _as(values, counts).T for values in found], axis=-1).astype(np.float64)
        for found in (
            [(predictions == c) & (labels == c) for c in classes],
            [predictions == c for c in classes],
            [(labels == c)[None] for c in classes],
        )
    )
    if metric == "matthews":
        total = counts.sum(axis=1, keepdims=True).astype(np.float64)
        covariance = right.sum(axis=-1) * total - (said * true).sum(axis=-1)
        spread = (total**2 - (said**2).sum(axis=-1)) * (total**2 - (true**2).sum(axis=-1))
        return _share(covariance, np.sqrt(spread))
    each = _share(2 * right, said + true)
    return each[..., 0] if metric == "f1" else _share(each.sum(axis=-1), (said + true > 0).sum(axis=-1))


def _one_by_one(metric: str, labels: Integers, predictions: Integers, counts: Array) -> Array:
    values = np.empty((len(counts), len(predictions)))
    for r, row in enumerate(counts.astype(np.int64)):
        where = np.repeat(np.arange(len(labels)), row)
        values[r] = [score([metric], labels[where], answer[where])[metric] for answer in predictions]
    return values


def _share(part: Array, whole: Array) -> Array:
    """``part / whole``, 0 where there is nothing."""
    part, whole = np.broadcast_arrays(np.asarray(part, dtype=np.float64), whole)
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def _as(values: npt.NDArray[Any], like: Array) -> Array:
    return values.astype(like.dtype)


def _counts(drawn: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """How often each example was drawn, ``[r, N]``; whole numbers below 2^24 are exact in float32."""
    rows, size = drawn.shape
    flat = (drawn + size * np.arange(rows)[:, None]).ravel()
    return np.bincount(flat, minlength=rows * size).reshape(rows, size).astype(np.float32)


def _distinct(predictions: Integers, costs: Integers) -> tuple[Integers, Integers]:
    """First policy of each kind of behaviour, and where every policy is among these."""
    both = np.ascontiguousarray(np.concatenate([predictions, costs], axis=1))
    seen: dict[bytes, int] = {}
    first: list[int] = []
    back: list[int] = []
    for p, row in enumerate(both):
        key = row.tobytes()
        if key not in seen:
            seen[key] = len(first)
            first.append(p)
        back.append(seen[key])
    return np.asarray(first, dtype=np.int64), np.asarray(back, dtype=np.int64)
