"""What a multi-exit model keeps and costs under every exit policy of a sweep.

Everything here is arithmetic on what the model said once, with every exit computed: no model runs again
for another threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..exits.policies import registry as policies

Integers = npt.NDArray[np.int64]
Score = Callable[[Integers, Integers], Mapping[str, float]]
Policy = dict[str, Any]

EARLY_ERRORS_SHOWN = 50
TEXT_SHOWN = 500


@dataclass(frozen=True)
class ExitOutputs:
    """What every exit of a model said about every example of a split.

    Args:
        logits: float ``[E, N, C]``.
        labels: int64 ``[N]``.
        lengths: unpadded tokens, special ones included, int64 ``[N]``.
        exit_layers: 1-based layer of each exit, ascending, ``[E]``.
        texts: what to show of each example, ``[N]``.
        difficulty: the task's tag of each example, ``[N]``.
        difficulties: the tags from easy to hard; else they are sorted by name.
    """

    logits: npt.NDArray[np.floating[Any]]
    labels: Integers
    lengths: Integers
    exit_layers: Sequence[int]
    texts: Sequence[str] | None = None
    difficulty: Sequence[str] | None = None
    difficulties: Sequence[str] | None = None

    def __post_init__(self) -> None:
        exits, examples = self.logits.shape[:2]
        if self.logits.ndim != 3 or exits != len(self.exit_layers) or examples == 0:
            raise ValueError(
                f"logits {self.logits.shape} are not [{len(self.exit_layers)} exits, examples, classes]"
            )
        for name in ("labels", "lengths", "texts", "difficulty"):
            value = getattr(self, name)
            if value is not None and len(value) != examples:
                raise ValueError(f"{len(value)} {name} for {examples} examples")
        if not np.isfinite(self.logits).all():
            raise ValueError("logits hold values that are not finite")


@dataclass(frozen=True)
class ExitCosts:
    """Multiply-adds up to and including each exit, and of the dense model.

    Args:
        exits: at ``sequence_length`` tokens, int64 ``[E]``.
        exits_real: at each example's unpadded length, int64 ``[N, E]``.
        dense: of the dense single-exit model at ``sequence_length``.
        dense_real: of the dense model at each example's unpadded length, int64 ``[N]``.
    """

    exits: Integers
    exits_real: Integers
    dense: int
    dense_real: Integers
    sequence_length: int = 128


@dataclass(frozen=True)
class Subset:
    """Figures of a part of the examples under one policy."""

    examples: int
    scores: dict[str, float]
    mean_exit_layer: float
    macs: float
    macs_real: float
    speedup: float
    speedup_real: float


@dataclass(frozen=True)
class OperatingPoint:
    """What one exit policy gives.

    Attributes:
        policy: e.g. ``{"name": "entropy", "threshold": 0.3}``; ``None``: nobody leaves before the last exit.
        all: figures over all examples.
        short: over those shorter than the median unpadded length (the paper's simple examples, Table 3).
        by_difficulty: over those of each difficulty tag.
        exit_shares: share of the examples that leave at each exit, ``[E]``.
        kept: main score over the dense model's.
    """

    policy: Policy | None
    all: Subset
    short: Subset | None
    by_difficulty: dict[str, Subset]
    exit_shares: list[float]
    kept: float | None

    @property
    def label(self) -> str:
        """The policy in words, e.g. ``entropy 0.3``."""
        if self.policy is None:
            return "all layers"
        settings = {key: value for key, value in self.policy.items() if key != "name"}
        if len(settings) == 1:
            return f"{self.policy['name']} {next(iter(settings.values()))}"
        return ", ".join([str(self.policy["name"]), *(f"{k} {v}" for k, v in settings.items())])


@dataclass(frozen=True)
class EarlyError:
    """An example that left before the last exit with a wrong answer."""

    text: str
    label: int
    predicted: int
    confidence: float
    exit_layer: int
    last_exit_says: int
    length: int
    difficulty: str | None


@dataclass(frozen=True)
class DenseScores:
    """The dense single-exit model on the same examples."""

    scores: dict[str, float] | None
    short_scores: dict[str, float] | None
    macs: int
    macs_real: float


@dataclass(frozen=True)
class Evaluation:
    """A multi-exit model on one split, under every policy of a sweep.

    Attributes:
        metrics: names, the main one first.
        exit_scores: each exit used alone for all examples, ``[E]``.
        exit_macs: multiply-adds up to and including each exit at ``sequence_length``, ``[E]``.
        points: one for each policy, in the order given.
        all_layers: every example at the last exit, having paid for every exit on the way.
        chosen: the point of the policy that was chosen, elsewhere than on this split.
        early_errors: under the chosen policy, the surest first, at most 50 of ``early_error_count``.
    """

    split: str
    examples: int
    metrics: list[str]
    sequence_length: int
    median_length: float
    exit_layers: list[int]
    exit_scores: list[dict[str, float]]
    exit_macs: list[int]
    dense: DenseScores
    all_layers: OperatingPoint
    points: list[OperatingPoint]
    chosen: OperatingPoint | None = None
    early_errors: list[EarlyError] = field(default_factory=list)
    early_error_count: int = 0


def exits_taken(logits: npt.NDArray[np.floating[Any]], policy: Policy | None) -> Integers:
    """Index of the exit each example takes: int64 ``[N]`` for logits ``[E, N, C]``."""
    if policy is None:
        return np.full(logits.shape[1], logits.shape[0] - 1, dtype=np.int64)
    taken: Integers = policies.build(policy).exits(torch.from_numpy(np.ascontiguousarray(logits))).numpy()
    return taken.astype(np.int64)


def evaluate_exits(
    outputs: ExitOutputs,
    policies: Sequence[Policy],
    costs: ExitCosts,
    score: Score,
    *,
    split: str = "test",
    dense_predictions: Integers | None = None,
    chosen: Policy | None = None,
) -> Evaluation:
    """Scores and costs of a multi-exit model for every policy of a sweep.

    Args:
        outputs: what the exits said.
        policies: e.g. ``[{"name": "entropy", "threshold": 0.3}, ...]``.
        costs: what leaving at each exit costs.
        score: ``score(labels, predictions)`` gives every metric, the main one first.
        dense_predictions: labels the dense model predicts for the same examples, int64 ``[N]``.
        chosen: the policy chosen on other data (see :func:`choose_policy`); its early errors are listed.
    """
    predictions: Integers = outputs.logits.argmax(axis=2)
    labels = np.asarray(outputs.labels)
    short = _short(outputs.lengths)
    dense = _dense(labels, dense_predictions, short, costs, score)
    view = _View(outputs, predictions, labels, short, costs, score, dense)
    exit_scores = [dict(score(labels, row)) for row in predictions]
    chosen_point = view.point(chosen)
    errors = _early_errors(outputs, predictions, exits_taken(outputs.logits, chosen))
    return Evaluation(
        split=split,
        examples=len(labels),
        metrics=list(exit_scores[-1]),
        sequence_length=costs.sequence_length,
        median_length=float(np.median(outputs.lengths)),
        exit_layers=[int(layer) for layer in outputs.exit_layers],
        exit_scores=exit_scores,
        exit_macs=[int(m) for m in costs.exits],
        dense=dense,
        all_layers=view.point(None),
        points=[view.point(policy) for policy in policies],
        chosen=chosen_point,
        early_errors=errors[:EARLY_ERRORS_SHOWN],
        early_error_count=len(errors),
    )


def choose_policy(validation: Evaluation, max_drop: float) -> Policy | None:
    """The cheapest policy whose main score is within ``max_drop`` (relative) of all layers'.

    Choose on data that is not reported: held out from the training part. Cost is the mean multiply-adds
    at the fixed length; among equals the better score wins. ``None`` means that no policy is good enough
    and nobody should leave early.
    """
    if not 0.0 <= max_drop < 1.0:
        raise ValueError(f"max_drop {max_drop} is not a share in [0, 1)")
    metric = validation.metrics[0]
    floor = (1.0 - max_drop) * validation.all_layers.all.scores[metric]
    fit = [p for p in [validation.all_layers, *validation.points] if p.all.scores[metric] >= floor]
    return min(fit, key=lambda p: (p.all.macs, -p.all.scores[metric])).policy


@dataclass(frozen=True)
class _View:
    """The evaluated examples, ready to be looked at under one policy after another."""

    outputs: ExitOutputs
    predictions: Integers
    labels: Integers
    short: npt.NDArray[np.bool_]
    costs: ExitCosts
    score: Score
    dense: DenseScores

    def point(self, policy: Policy | None) -> OperatingPoint:
        taken = exits_taken(self.outputs.logits, policy)
        everything = np.ones(len(taken), dtype=bool)
        whole = self.subset(taken, everything)
        metric = next(iter(whole.scores))
        dense_score = (self.dense.scores or {}).get(metric)
        return OperatingPoint(
            policy=policy,
            all=whole,
            short=self.subset(taken, self.short) if self.short.any() else None,
            by_difficulty={
                tag: self.subset(taken, np.array([t == tag for t in self.outputs.difficulty or []]))
                for tag in _tags(self.outputs)
            },
            exit_shares=(np.bincount(taken, minlength=len(self.outputs.exit_layers)) / len(taken)).tolist(),
            kept=whole.scores[metric] / dense_score if dense_score else None,
        )

    def subset(self, taken: Integers, rows: npt.NDArray[np.bool_]) -> Subset:
        index = np.flatnonzero(rows)
        exits = taken[index]
        macs = float(self.costs.exits[exits].mean())
        macs_real = float(self.costs.exits_real[index, exits].mean())
        return Subset(
            examples=len(index),
            scores=dict(self.score(self.labels[index], self.predictions[exits, index])),
            mean_exit_layer=float(np.asarray(self.outputs.exit_layers)[exits].mean()),
            macs=macs,
            macs_real=macs_real,
            speedup=self.costs.dense / macs,
            speedup_real=float(self.costs.dense_real[index].mean()) / macs_real,
        )


def _short(lengths: Integers) -> npt.NDArray[np.bool_]:
    """Shorter than the median unpadded length."""
    shorter: npt.NDArray[np.bool_] = np.asarray(lengths) < np.median(lengths)
    return shorter


def _tags(outputs: ExitOutputs) -> list[str]:
    present = set(outputs.difficulty or ())
    order = list(outputs.difficulties or ())
    return [tag for tag in order if tag in present] + sorted(present - set(order))


def _dense(
    labels: Integers,
    predictions: Integers | None,
    short: npt.NDArray[np.bool_],
    costs: ExitCosts,
    score: Score,
) -> DenseScores:
    if predictions is not None and len(predictions) != len(labels):
        raise ValueError(f"{len(predictions)} predictions of the dense model for {len(labels)} examples")
    return DenseScores(
        scores=None if predictions is None else dict(score(labels, predictions)),
        short_scores=dict(score(labels[short], predictions[short]))
        if predictions is not None and short.any()
        else None,
        macs=int(costs.dense),
        macs_real=float(np.mean(costs.dense_real)),
    )


def _early_errors(outputs: ExitOutputs, predictions: Integers, taken: Integers) -> list[EarlyError]:
    """Examples that left before the last exit and wrongly, the surest first."""
    last = len(outputs.exit_layers) - 1
    rows = np.arange(len(taken))
    wrong = np.flatnonzero((taken < last) & (predictions[taken, rows] != outputs.labels))
    at_exit = outputs.logits[taken[wrong], wrong].astype(np.float64)
    shifted = np.exp(at_exit - at_exit.max(axis=1, keepdims=True, initial=-np.inf))
    confidence = (shifted / shifted.sum(axis=1, keepdims=True)).max(axis=1, initial=0.0)
    order = np.argsort(-confidence, kind="stable")
    return [
        EarlyError(
            text=outputs.texts[i][:TEXT_SHOWN] if outputs.texts is not None else f"example {i}",
            label=int(outputs.labels[i]),
            predicted=int(predictions[taken[i], i]),
            confidence=float(sure),
            exit_layer=int(outputs.exit_layers[taken[i]]),
            last_exit_says=int(predictions[last, i]),
            length=int(outputs.lengths[i]),
            difficulty=outputs.difficulty[i] if outputs.difficulty is not None else None,
        )
        for i, sure in zip(wrong[order].tolist(), confidence[order].tolist(), strict=True)
    ]
