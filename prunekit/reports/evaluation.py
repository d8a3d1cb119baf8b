"""What a multi-exit model keeps and costs under every exit policy of a sweep.

Everything here is arithmetic on what the model said once, with every exit computed: no model runs again
for another threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ..exits.policies import registry as policies
from .outputs import ExitOutputs, Floats, Integers
from .points import (
    ROUNDING,
    DenseScores,
    EarlyError,
    Evaluation,
    ExitCosts,
    OperatingPoint,
    Policy,
    Subset,
    share_kept,
)

Score = Callable[[Integers, Integers], Mapping[str, float]]

EARLY_ERRORS_SHOWN = 50
TEXT_SHOWN = 500


def exits_taken(logits: Floats, policy: Policy | None, certainty: Floats | None = None) -> Integers:
    """Index of the exit each example takes: int64 ``[N]`` for logits ``[E, N, C]``, certainty ``[E, N]``."""
    if policy is None:
        return np.full(logits.shape[1], logits.shape[0] - 1, dtype=np.int64)
    said, sure = (
        None if values is None else torch.from_numpy(np.ascontiguousarray(values))
        for values in (logits, certainty)
    )
    assert said is not None
    taken: Integers = policies.build(policy).exits(said, sure).numpy()
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
        dense_predictions: labels the dense model predicts for the same examples, int64 ``[N]``; default:
            those of the outputs.
        chosen: the policy chosen on other data (see :func:`choose_policy`); its early errors are listed.
    """
    predictions: Integers = outputs.logits.argmax(axis=2)
    labels = np.asarray(outputs.labels)
    short = _short(outputs.lengths)
    if dense_predictions is None:
        dense_predictions = outputs.dense_predictions
    dense = _dense(labels, dense_predictions, short, costs, score)
    view = _View(outputs, predictions, labels, short, costs, score, dense)
    exit_scores = [dict(score(labels, row)) for row in predictions]
    chosen_point = view.point(chosen)
    errors = _early_errors(outputs, predictions, exits_taken(outputs.logits, chosen, outputs.certainty))
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
    """The cheapest policy whose main score is at most ``max_drop`` below that of all layers.

    Choose on data that is not reported: held out from the training part. Cost is the mean multiply-adds
    at the fixed length; among equals the better score wins. ``None`` means that no policy is good enough
    and nobody should leave early.

    Args:
        validation: of any metric; scores may be 0 or negative, as Matthews' correlation is below chance.
        max_drop: in points of the main score, 0.01 for one point; 0: none may be lost.
    """
    if not 0.0 <= max_drop < 1.0:
        raise ValueError(f"max_drop {max_drop} is not a share in [0, 1)")
    metric = validation.metrics[0]
    # Nine of ten less one of ten is eight of ten, but for rounding.
    floor = validation.all_layers.all.scores[metric] - max_drop - ROUNDING
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
        taken = exits_taken(self.outputs.logits, policy, self.outputs.certainty)
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
            kept=share_kept(whole.scores[metric], dense_score),
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
