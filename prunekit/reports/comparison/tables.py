"""A comparison's tables: heads and rows, for Markdown and for the terminal alike."""

from __future__ import annotations

from ..tables import Row
from ..words import count_words, fixed, flops_words, percent_words, seconds_words, times_words
from .phrases import difference_words, order_words, points_words, spread_words
from .schema import ComparedSystem, ComparedTask, Comparison, Spread, TaskRow

Table = tuple[list[str], list[Row]]
NONE = "–"


def comparison_rows(comparison: Comparison) -> Table:
    """As the paper's Table 3: the dense model, every system, and the short examples on their own.

    Sizes, their reductions against the dense model, FLOPs under the chosen policies (mean over tasks), scores
    of each task, share of the dense score kept (mean over tasks). Scores are means over seeds, in percent,
    the main one with its standard deviation; a task of several metrics has them in one cell. A row of short
    examples gives in brackets how far its score is from that of all examples.
    """
    header = ["System", "Parameters", "Fewer", f"FLOPs at {comparison.sequence_length}", "Fewer"]
    header += [f"{task.task}, {' / '.join(task.metrics)}" for task in comparison.tasks] + ["Kept"]
    dense = [
        comparison.dense_name,
        count_words(comparison.dense_parameters),
        times_words(1),
        flops_words(comparison.dense_macs),
        times_words(1),
        *(_metrics(task, task.dense) for task in comparison.tasks),
        percent_words(1.0 if any(_positive(task) for task in comparison.tasks) else None),
    ]
    rows: list[Row] = [dense]
    rows += [_system_row(comparison, system) for system in comparison.systems]
    rows += [row for system in comparison.systems if (row := _short_row(comparison, system)) is not None]
    return header, rows


def _positive(task: ComparedTask) -> bool:
    """Whether there is a dense score that a share can be kept of."""
    return task.dense is not None and all(value > 0 for value in task.dense[task.metric].values)


def _system_row(comparison: Comparison, system: ComparedSystem) -> Row:
    rows = {task.task: row for task, row in comparison.rows(system.name)}
    return [
        system.label,
        count_words(system.parameters),
        times_words(system.parameters_fewer),
        flops_words(comparison.macs(system.name)),
        times_words(comparison.speedup(system.name)),
        *(_metrics(t, rows[t.task].scores if t.task in rows else None) for t in comparison.tasks),
        percent_words(comparison.kept(system.name)),
    ]


def _short_row(comparison: Comparison, system: ComparedSystem) -> Row | None:
    """Of the examples shorter than the median; none where a task has none."""
    rows = {task.task: row for task, row in comparison.rows(system.name)}
    macs = [row.short_macs.mean for row in rows.values() if row.short_macs is not None]
    if len(macs) < len(rows):
        return None
    whole = sum(row.speedup.mean * row.macs.mean for row in rows.values())
    return [
        f"{system.label}, short examples",
        count_words(system.parameters),
        times_words(system.parameters_fewer),
        flops_words(sum(macs) / len(macs)),
        times_words(whole / sum(macs)),
        *(_short(t, rows.get(t.task)) for t in comparison.tasks),
        NONE,
    ]


def _metrics(task: ComparedTask, scores: dict[str, Spread] | None) -> str:
    if scores is None:
        return NONE
    others = [fixed(100 * scores[m].mean) for m in task.metrics[1:]]
    return " / ".join([spread_words(scores[task.metric]), *others])


def _short(task: ComparedTask, row: TaskRow | None) -> str:
    if row is None or row.short_scores is None:
        return NONE
    own, whole = row.short_scores[task.metric].mean, row.scores[task.metric].mean
    return f"{fixed(100 * own)} ({points_words(own - whole)})"


def effort_rows(comparison: Comparison) -> Table:
    """What each system is made of, and what was spent on it."""
    header = ["System", "Starts from", "Exits at layers", "Parameters", "FLOPs, all layers", "Fewer"]
    header += ["Optimizer steps", "Time of a run", "Settings tried", "Runs"]
    rows: list[Row] = [
        [
            s.label,
            s.backbone or NONE,
            ", ".join(map(str, s.exits)),
            f"{s.parameters:,}",
            flops_words(s.macs),
            times_words(s.macs_fewer),
            NONE if s.steps is None else f"{s.steps.mean:,.0f}",
            NONE if s.seconds is None else seconds_words(s.seconds.mean),
            s.tried,
            len(s.runs),
        ]
        for s in comparison.systems
    ]
    return header, rows


def task_rows(comparison: Comparison, task: ComparedTask) -> Table:
    """One task: score, share kept and cost under the chosen policies, without them, and the area."""
    header = ["System", f"{task.metric}", "Kept", "FLOPs", "Fewer", "All layers", "Area", "Policy"]
    rows: list[Row] = [
        [
            comparison.system(row.system).label,
            spread_words(row.scores[task.metric]),
            spread_words(row.kept),
            flops_words(row.macs.mean),
            times_words(row.speedup.mean),
            spread_words(row.all_layers),
            spread_words(row.area),
            "; ".join(dict.fromkeys(row.policies)),
        ]
        for row in task.rows
    ]
    return header, rows


def difference_rows(comparison: Comparison, task: ComparedTask) -> Table:
    """The subject against every other system: scores, areas, curves, in words."""
    subject = comparison.system(comparison.subject).label
    kinds = [{order.second: order for order in orders} for orders in (task.orders, task.sweep_orders)]
    found = {(d.second, d.at): d for d in task.differences}
    header = [
        f"{subject} against",
        f"{task.metric}, chosen policies",
        "Area",
        "Its curve lies",
        "Its sweep, joined, lies",
    ]
    rows: list[Row] = [
        [
            comparison.system(name).label,
            *(
                difference_words(found[name, at]) if (name, at) in found else "no seed in common"
                for at in ("chosen", "area")
            ),
            *(order_words(orders[name], task.budget) if name in orders else NONE for orders in kinds),
        ]
        for name in (row.system for row in task.rows if row.system != comparison.subject)
    ]
    return header, rows


def layer_rows(comparison: Comparison, task: ComparedTask) -> Table:
    """Every exit used alone for all examples, as the paper's Figures 5 and 6."""
    layers = sorted({layer for row in task.rows for layer in row.exit_layers})
    rows: list[Row] = []
    for row in task.rows:
        at = dict(zip(row.exit_layers, row.exit_scores, strict=True))
        label = comparison.system(row.system).label
        rows.append([label, *(spread_words(at[layer]) if layer in at else "" for layer in layers)])
    return ["System", *(f"Layer {layer}" for layer in layers)], rows
