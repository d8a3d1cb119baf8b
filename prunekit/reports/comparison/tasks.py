"""One task of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Literal

import numpy as np

from ...errors import RunError
from ..points import OperatingPoint, Subset, share_kept
from .curves import Array, area, on_frontier, staircase, where_below, where_line_below
from .resampling import Resampled, paired_difference, resample, seed_draws
from .runs import SystemRun
from .schema import ComparedTask, Curve, CurveOrder, Difference, PolicyPoint, Spread, TaskRow
from .swept import Swept, constant_answer, picked_on, swept

# Budgets of the drawn curves, from the cheapest exit to the largest cost of all layers, evenly by logarithm.
GRID = 120


def compare_task(runs: Sequence[SystemRun], subject: str, resamples: int, seed: int) -> ComparedTask:
    """Rows, differences and curves of one task; ``runs`` are checked, the subject's first."""
    evaluation, constant, picked = runs[0].report.evaluation, constant_answer(runs), picked_on(runs)
    systems: dict[str, list[Swept]] = {run.system: [] for run in runs}
    for run in sorted(runs, key=lambda r: r.seed):
        systems[run.system].append(swept(run, picked, constant))
    dense = _dense_of(runs, subject)
    budget = float(max(run.report.evaluation.exit_macs[-1] for run in runs))
    # Where the first of the systems can answer, with whatever seed.
    cheapest = min(max(s.cheapest for s in own) for own in systems.values())
    grid = np.unique(np.ceil(np.geomspace(cheapest, budget, GRID)))
    resampled = {
        name: [
            resample(s.answers(), s.metric, budget, resamples, seed, grid if len(own) == 1 else None)
            for s in own
        ]
        for name, own in systems.items()
    }
    rows = {name: _row(own, dense, budget, grid, resampled[name]) for name, own in systems.items()}
    others = [name for name in systems if name != subject] if subject in systems else []
    pairs = [pair for name in others if (pair := _paired(systems[subject], systems[name])) is not None]
    return ComparedTask(
        task=runs[0].task,
        metric=evaluation.metrics[0],
        metrics=list(evaluation.metrics),
        examples=evaluation.examples,
        median_length=evaluation.median_length,
        seeds=sorted(dense),
        dense=_dense_scores([d.report.evaluation.dense.scores for d in dense.values()]),
        dense_short=_dense_scores([d.report.evaluation.dense.short_scores for d in dense.values()]),
        constant=constant.score,
        budget=budget,
        picked_on=picked,
        rows=_with_frontiers(list(rows.values()), constant.score),
        differences=[
            found
            for name in others
            for found in _differences((rows[subject], rows[name]), resampled, evaluation.metrics[0], seed)
        ],
        orders=[_order(*pair, budget) for pair in pairs],
        sweep_orders=[order for pair in pairs if (order := _sweep_order(*pair, budget)) is not None],
        note=runs[0].note,
    )


def _dense_of(runs: Sequence[SystemRun], subject: str) -> dict[int, SystemRun]:
    """Seed -> the run whose dense model counts: the subject's, else the first that has the seed."""
    found: dict[int, SystemRun] = {}
    for run in sorted(runs, key=lambda r: (r.seed, r.system != subject)):
        found.setdefault(run.seed, run)
    return found


def _dense_scores(scores: Sequence[dict[str, float] | None]) -> dict[str, Spread] | None:
    known = [s for s in scores if s is not None]
    if len(known) < len(scores):
        return None
    return {metric: Spread.of(s[metric] for s in known) for metric in known[0]}


def _row(
    runs: list[Swept],
    dense: dict[int, SystemRun],
    budget: float,
    grid: Array,
    resampled: list[Resampled],
) -> TaskRow:
    evaluations = [r.run.report.evaluation for r in runs]
    layers = evaluations[0].exit_layers
    if any(e.exit_layers != layers for e in evaluations):
        raise RunError(
            f"the runs of {runs[0].run.system} have exits on different layers: "
            + "; ".join(f"seed {r.run.seed}: {r.run.report.evaluation.exit_layers}" for r in runs),
            "call them different systems",
        )
    metric, chosen = runs[0].metric, [r.chosen for r in runs]
    references = [dense[r.run.seed].report.evaluation.dense for r in runs]
    costs = [d.macs for d in references]
    shorts = [p.short for p in chosen if p.short is not None]
    has_short = len(shorts) == len(chosen)
    return TaskRow(
        system=runs[0].run.system,
        seeds=[r.run.seed for r in runs],
        policies=[p.label for p in chosen],
        scores=_scores([p.all for p in chosen]),
        kept=_kept(
            [p.all.scores[metric] for p in chosen], [(d.scores or {}).get(metric) for d in references]
        ),
        macs=Spread.of(p.all.macs for p in chosen),
        speedup=_speedup(costs, [p.all for p in chosen]),
        all_layers=Spread.of(e.all_layers.all.scores[metric] for e in evaluations),
        short_scores=_scores(shorts) if has_short else None,
        short_macs=Spread.of(s.macs for s in shorts) if has_short else None,
        short_speedup=_speedup(costs, shorts) if has_short else None,
        area=Spread.of(float(area(*r.sweep, budget)) for r in runs),
        curve=_curve(runs, grid, resampled),
        points=_points(runs),
        exit_layers=list(layers),
        exit_scores=[Spread.of(e.exit_scores[i][metric] for e in evaluations) for i in range(len(layers))],
        exit_macs=[round(fmean(e.exit_macs[i] for e in evaluations)) for i in range(len(layers))],
        exit_shares=[fmean(p.exit_shares[i] for p in chosen) for i in range(len(layers))],
    )


def _scores(parts: Sequence[Subset]) -> dict[str, Spread]:
    return {metric: Spread.of(part.scores[metric] for part in parts) for metric in parts[0].scores}


def _kept(scores: Sequence[float], dense: Sequence[float | None]) -> Spread | None:
    """Share of the dense score, seed by seed; none where it means nothing for one, see ``share_kept``."""
    shares = [share_kept(own, whole) for own, whole in zip(scores, dense, strict=True)]
    return None if None in shares else Spread.of(share for share in shares if share is not None)


def _speedup(dense: Sequence[float], parts: Sequence[Subset]) -> Spread:
    """Costs are averaged, not ratios: its mean is the dense model's mean cost over the parts'."""
    values = [cost / part.macs for cost, part in zip(dense, parts, strict=True)]
    return Spread.of(values, mean=sum(dense) / sum(part.macs for part in parts))


def _curve(runs: list[Swept], grid: Array, resampled: list[Resampled]) -> Curve:
    each = np.stack([staircase(grid, *r.sweep) for r in runs])
    drawn = resampled[0].curve
    low, high = (
        (each.min(axis=0), each.max(axis=0)) if drawn is None else np.quantile(drawn, [0.025, 0.975], 0)
    )
    # Below a seed's cheapest exit there is the constant answer alone, which is not the system's.
    able = grid >= max(r.cheapest for r in runs)

    def known(values: Array) -> list[float | None]:
        return [round(float(v), 6) if ok else None for v, ok in zip(values, able, strict=True)]

    return Curve(grid.tolist(), known(each.mean(axis=0)), known(low), known(high), [False] * len(grid))


def _points(runs: list[Swept]) -> list[PolicyPoint]:
    """Policies that every seed tried, those that do the same once."""
    found: dict[tuple[float, float], PolicyPoint] = {}
    tried: list[dict[str, OperatingPoint]] = [{repr(p.policy): p for p in r.points} for r in runs]
    for key, point in tried[0].items():
        if all(key in other for other in tried):
            macs = fmean(other[key].all.macs for other in tried)
            reached = fmean(other[key].all.scores[runs[0].metric] for other in tried)
            found.setdefault((macs, reached), PolicyPoint(point.label, macs, reached))
    return sorted(found.values(), key=lambda p: (p.macs, p.score))


def _with_frontiers(rows: list[TaskRow], constant: float) -> list[TaskRow]:
    """The same rows, with where their curves are on the frontier of all curves and the constant answer."""
    means = np.array([[-np.inf if v is None else v for v in row.curve.mean] for row in rows])
    budgets = np.broadcast_to(rows[0].curve.macs, means.shape)
    # Where a system cannot answer yet it is below the constant answer, which comes first.
    scores = np.append(round(constant, 6), means)  # rounded as they are
    kept = on_frontier(np.append(0.0, budgets), scores)[1:].reshape(means.shape)
    return [
        replace(row, curve=replace(row.curve, frontier=own.tolist()))
        for row, own in zip(rows, kept, strict=True)
    ]


def _differences(
    rows: tuple[TaskRow, TaskRow], resampled: dict[str, list[Resampled]], metric: str, seed: int
) -> list[Difference]:
    """Under the chosen policies and in area, over the seeds both have; none where they share no seed."""
    shared = [s for s in rows[0].seeds if s in rows[1].seeds]
    if not shared:
        return []
    kinds: tuple[Literal["chosen", "area"], ...] = ("chosen", "area")
    found = []
    for at in kinds:
        means, values = [], []
        for row in rows:
            where = [row.seeds.index(s) for s in shared]
            told = row.scores[metric] if at == "chosen" else row.area
            means.append(fmean(told.values[i] for i in where))
            values.append(np.stack([getattr(resampled[row.system][i], at) for i in where], axis=1))
        drawn = seed_draws(len(shared), len(values[0]), seed)
        low, high, p = paired_difference(values[0], values[1], drawn)
        real = low > 0 or high < 0
        found.append(
            Difference(rows[0].system, rows[1].system, at, means[0] - means[1], low, high, p, real, shared)
        )
    return found


def _paired(first: list[Swept], second: list[Swept]) -> tuple[list[Swept], list[Swept]] | None:
    """Two systems over the seeds both have; none where they share no seed."""
    shared = {r.run.seed for r in first} & {r.run.seed for r in second}
    one, other = ([r for r in own if r.run.seed in shared] for own in (first, second))
    return (one, other) if shared else None


def _order(first: list[Swept], second: list[Swept], budget: float) -> CurveOrder:
    return _ordered(first, second, *where_below([r.sweep for r in first], [r.sweep for r in second], budget))


def _sweep_order(first: list[Swept], second: list[Swept], budget: float) -> CurveOrder | None:
    """None where the sweeps span no cost in common."""
    lines = [[(p.macs, p.score) for p in _points(own)] for own in (first, second)]
    if not all(lines):
        return None
    one, other = (tuple(np.array(line).T) for line in lines)
    found = where_line_below(one, other, budget)
    return None if found is None else _ordered(first, second, *found)


def _ordered(first: list[Swept], second: list[Swept], below: list[list[float]], above: float) -> CurveOrder:
    return CurveOrder(first[0].run.system, second[0].run.system, not below and above > 0, below, above)
