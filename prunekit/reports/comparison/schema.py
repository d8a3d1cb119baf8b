"""What a comparison is made of: plain values, written to ``report.json`` as they are.

Scores are fractions (0.84, not 84 %), costs are multiply-adds of one example at the comparison's sequence
length (FLOPs are two for each), and every list "for each seed" has the order of the row's ``seeds``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any, Literal


@dataclass(frozen=True)
class Spread:
    """A figure over seeds.

    Attributes:
        mean: over ``values`` (of ratios such as a speedup: the ratio of the means, see the field).
        std: sample standard deviation (over n - 1); ``None`` of a single value.
        values: one for each seed.
    """

    mean: float
    std: float | None
    values: list[float]

    @classmethod
    def of(cls, values: Iterable[float], mean: float | None = None) -> Spread:
        """Of values for each seed; ``mean`` where it is not theirs."""
        found = [float(v) for v in values]
        std = stdev(found) if len(found) > 1 else None
        return cls(fmean(found) if mean is None else mean, std, found)


@dataclass(frozen=True)
class Curve:
    """A system's score against the budget, on the grid of budgets all systems of a task share.

    At a budget a system uses, of its policies that cost no more, the one with the best score on the examples
    policies are picked on (``ComparedTask.picked_on``); drawn is its score on the reported examples.

    Attributes:
        macs: budgets in mean multiply-adds an example, ascending; the same list in every row of a task.
        mean: over seeds; ``None`` below the cheapest exit of any seed (there a system cannot answer).
        low, high: smallest and largest over seeds; of one seed: 95 % bootstrap interval over examples.
        frontier: this budget and mean are on the Pareto frontier of all the task's mean curves and the
            constant answer, which is free: none of them is as high for less, or higher for as much.
    """

    macs: list[float]
    mean: list[float | None]
    low: list[float | None]
    high: list[float | None]
    frontier: list[bool]


@dataclass(frozen=True)
class PolicyPoint:
    """One policy of a system's sweep: mean over seeds of what it costs and scores (main metric).

    Attributes:
        label: e.g. ``entropy 0.3``; ``all layers``.
    """

    label: str
    macs: float
    score: float


@dataclass(frozen=True)
class TaskRow:
    """One system on one task.

    Attributes:
        system: ``ComparedSystem.name``.
        policies: the chosen policy in words, for each seed.
        scores: metric -> score under the chosen policy.
        kept: main score over that of the same seed's dense model; ``None`` where no dense model was scored,
            or one of the scores is negative, or the dense one 0, for a seed.
        macs: mean cost of an example under the chosen policy.
        speedup: the dense model's cost over ``macs``; its ``mean`` is the dense cost over the mean cost.
        all_layers: main score where nobody leaves early.
        short_scores, short_macs, short_speedup: the same over examples shorter than the median (the paper's
            simple instances), under the same policy; ``None`` where there are none.
        area: area under the score-FLOPs curve, see :mod:`prunekit.reports.comparison.curves`.
        points: every distinct policy, from the cheapest.
        exit_layers, exit_scores, exit_macs: layer of each exit, its main score used alone for all examples,
            and the cost up to and including it.
        exit_shares: share of the examples that leave at each exit under the chosen policy, mean over seeds.
    """

    system: str
    seeds: list[int]
    policies: list[str]
    scores: dict[str, Spread]
    kept: Spread | None
    macs: Spread
    speedup: Spread
    all_layers: Spread
    short_scores: dict[str, Spread] | None
    short_macs: Spread | None
    short_speedup: Spread | None
    area: Spread
    curve: Curve
    points: list[PolicyPoint]
    exit_layers: list[int]
    exit_scores: list[Spread]
    exit_macs: list[int]
    exit_shares: list[float]


@dataclass(frozen=True)
class Difference:
    """How much better the first system is than the second, by the main metric: a paired bootstrap.

    Attributes:
        first, second: names of systems.
        at: ``chosen``: scores under the chosen policies; ``area``: areas under the score-FLOPs curves.
        mean: first minus second on the reported examples, a fraction.
        low, high: 95 % interval.
        p: two-sided; chance of so large a difference where there is none.
        real: the interval does not hold 0; with one seed that tells of the chance of the examples alone.
        seeds: those both systems have; the comparison is over them.
    """

    first: str
    second: str
    at: Literal["chosen", "area"]
    mean: float
    low: float
    high: float
    p: float
    real: bool
    seeds: list[int]


@dataclass(frozen=True)
class CurveOrder:
    """Whether the first system's mean curve lies above the second's, over the seeds both have.

    Compared is at every budget from the cheaper one's first exit to ``ComparedTask.budget``, not on a grid;
    in ``ComparedTask.sweep_orders`` at every cost that both sweeps span.

    Attributes:
        always: nowhere below, and somewhere above.
        below: ranges of budgets ``[from, to]`` in multiply-adds where the first is strictly below; at ``to``
            it no longer is, but where both are ``ComparedTask.budget``.
        above_share: share of those budgets (by width) where the first is strictly above.
    """

    first: str
    second: str
    always: bool
    below: list[list[float]]
    above_share: float


@dataclass(frozen=True)
class ComparedTask:
    """One task: the dense model, and a row for each system.

    Attributes:
        metric: the main one, first of ``metrics``.
        examples: reported; ``median_length`` is theirs in tokens, "short" means shorter.
        seeds: of any system, ascending.
        dense: metric -> score of the dense model, for each seed; ``None`` where none was scored.
        constant: main score of always answering the class that is most frequent among the validation
            examples (among the reported ones, where no run has any).
        budget: up to here areas are taken: the largest cost of all layers among the systems.
        picked_on: where a curve's policies are picked: ``validation``, or ``test`` where a run has no
            validation.
        differences: of the subject against every other system, ``chosen`` and ``area``.
        orders: the same for the curves; none where the two systems share no seed.
        sweep_orders: the same for the lines through the points of each sweep (the paper's Figure 3), nothing
            picked; none either where the two span no cost in common.
    """

    task: str
    metric: str
    metrics: list[str]
    examples: int
    median_length: float
    seeds: list[int]
    dense: dict[str, Spread] | None
    dense_short: dict[str, Spread] | None
    constant: float
    budget: float
    picked_on: Literal["validation", "test"]
    rows: list[TaskRow]
    differences: list[Difference] = field(default_factory=list)
    orders: list[CurveOrder] = field(default_factory=list)
    sweep_orders: list[CurveOrder] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class ComparedSystem:
    """What a system is, whatever the task; sizes are means over its runs.

    Attributes:
        name: unique key; ``label`` is shown.
        backbone: where its weights come from, in words.
        parameters_fewer, macs_fewer: the dense model's over the system's.
        macs: through every layer and exit.
        exits: 1-based layers with an exit.
        steps: optimizer steps of a run, its dense model's included; ``None`` where not recorded.
        seconds: wall time of a run, likewise.
        tried: settings trained, the best on the validation examples kept; 1: no grid.
        runs: folders of its runs, as given.
        heads, neurons: what each layer has, mean over its runs; empty where it is not known, or the runs'
            numbers of layers differ.
        settings: the recipe of its first run, resolved.
    """

    name: str
    label: str
    backbone: str
    parameters: int
    parameters_fewer: float
    macs: int
    macs_fewer: float
    exits: list[int]
    steps: Spread | None
    seconds: Spread | None
    tried: int
    runs: list[str]
    heads: list[float] = field(default_factory=list)
    neurons: list[float] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Systems set against each other and against the dense model.

    Attributes:
        subject: name of the system the comparison is about; its row is the first.
        resamples: of the bootstrap.
        notes: what a reader must know to judge the figures.
    """

    dense_name: str
    dense_parameters: int
    dense_macs: int
    subject: str
    systems: list[ComparedSystem]
    tasks: list[ComparedTask]
    sequence_length: int
    resamples: int
    notes: list[str] = field(default_factory=list)

    @property
    def seeds(self) -> list[int]:
        """Of all tasks, ascending."""
        return sorted({seed for task in self.tasks for seed in task.seeds})

    def system(self, name: str) -> ComparedSystem:
        """The system of that name."""
        return next(s for s in self.systems if s.name == name)

    def rows(self, name: str) -> list[tuple[ComparedTask, TaskRow]]:
        """A system's row in every task it has one in."""
        return [(task, row) for task in self.tasks for row in task.rows if row.system == name]

    def macs(self, name: str) -> float:
        """A system's mean cost of an example under its chosen policies, mean over its tasks."""
        return fmean(row.macs.mean for _, row in self.rows(name))

    def speedup(self, name: str) -> float:
        """The dense model's mean cost over that, as the paper averages its FLOPs over tasks."""
        rows = [row for _, row in self.rows(name)]
        return sum(row.speedup.mean * row.macs.mean for row in rows) / sum(row.macs.mean for row in rows)

    def kept(self, name: str) -> float | None:
        """Share of the dense score, mean over tasks; ``None`` where a task's row has none."""
        shares = [row.kept.mean for _, row in self.rows(name) if row.kept is not None]
        return fmean(shares) if len(shares) == len(self.rows(name)) else None
