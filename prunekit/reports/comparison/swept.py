"""A run as its curve sees it: policies with what they cost, score, and are picked by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...data.metrics import score
from ...errors import RunError
from ..evaluation import exits_taken
from ..points import OperatingPoint
from .curves import Array, Sweep
from .resampling import Answers
from .runs import SystemRun

PickedOn = Literal["validation", "test"]


@dataclass(frozen=True)
class Constant:
    """The answer that costs nothing: always the same class, and its main score on the reported examples."""

    label: int
    score: float


@dataclass(frozen=True)
class Swept:
    """One run with its policies.

    Args:
        points: on the reported examples, all layers first.
        by: what curves pick policies by, ``[1 + P]``, the constant answer's first; ``None``: by the reported
            scores.
    """

    run: SystemRun
    points: list[OperatingPoint]
    by: Array | None
    constant: Constant

    @property
    def metric(self) -> str:
        """The main one."""
        return self.run.report.evaluation.metrics[0]

    @property
    def chosen(self) -> OperatingPoint:
        """Of the chosen policy; all layers where none was chosen."""
        return self.run.report.evaluation.chosen or self.run.report.evaluation.all_layers

    @property
    def cheapest(self) -> float:
        """Cost of the cheapest policy of the system's own."""
        return min(point.all.macs for point in self.points)

    @property
    def sweep(self) -> Sweep:
        """The constant answer, which is free, then every policy."""
        costs = np.array([0.0, *(p.all.macs for p in self.points)])
        scores = np.array([self.constant.score, *(p.all.scores[self.metric] for p in self.points)])
        return costs, scores, scores if self.by is None else self.by

    def answers(self) -> Answers:
        """What the run answers under every policy of the sweep, and under the chosen one.

        Raises:
            RunError: its outputs do not give its report's figures.
        """
        test = self.run.test
        labels, said = np.asarray(test.labels), test.logits.argmax(axis=2)
        points = [*self.points, self.chosen]
        taken = np.stack([exits_taken(test.logits, p.policy, test.certainty) for p in points])
        costs = np.asarray(self.run.report.evaluation.exit_macs, dtype=np.int64)[taken]
        answered = said[taken, np.arange(len(labels))]
        for point, spent, answer in zip(points, costs, answered, strict=True):
            found = (spent.mean(), score([self.metric], labels, answer)[self.metric])
            told = (point.all.macs, point.all.scores[self.metric])
            if not np.allclose(found, told, rtol=1e-6, atol=1e-9):
                raise RunError(
                    f"{self.run.run or self.run.system}: under {point.label} its outputs give {found[1]:.4f} "
                    f"at {found[0]:.0f} multiply-adds an example, its report says {told[1]:.4f} "
                    f"at {told[0]:.0f}",
                    "apply its recipe again with --fresh",
                )
        free = np.full((1, len(labels)), self.constant.label)
        return Answers(
            labels,
            predictions=np.concatenate([free, answered[:-1]]),
            costs=np.concatenate([0 * free, costs[:-1]]),
            by=self.by,
            chosen=answered[-1],
        )


def picked_on(runs: Sequence[SystemRun]) -> PickedOn:
    """``validation`` where every policy of every run was measured there and its labels are known."""
    for run in runs:
        told = run.report.validation
        if told is None or run.validation is None:
            return "test"
        measured = {repr(p.policy) for p in told.points}
        if any(repr(p.policy) not in measured for p in run.report.evaluation.points):
            return "test"
    return "validation"


def constant_answer(runs: Sequence[SystemRun]) -> Constant:
    """The most frequent class of the first validation examples that there are; else of the reported ones."""
    labels = np.asarray(runs[0].test.labels)
    held_out = next((run.validation.labels for run in runs if run.validation is not None), labels)
    label = int(np.bincount(np.asarray(held_out)).argmax())
    metric = runs[0].report.evaluation.metrics[0]
    return Constant(label, score([metric], labels, np.full_like(labels, label))[metric])


def swept(run: SystemRun, picked: PickedOn, constant: Constant) -> Swept:
    """The run with its policies, and what they are picked by."""
    evaluation, told = run.report.evaluation, run.report.validation
    points = [evaluation.all_layers, *evaluation.points]
    if picked == "test":
        return Swept(run, points, None, constant)
    assert told is not None and run.validation is not None
    metric, labels = evaluation.metrics[0], np.asarray(run.validation.labels)
    measured = {repr(p.policy): p.all.scores[metric] for p in [*told.points, told.all_layers]}
    free = score([metric], labels, np.full_like(labels, constant.label))[metric]
    return Swept(run, points, np.array([free, *(measured[repr(p.policy)] for p in points)]), constant)
