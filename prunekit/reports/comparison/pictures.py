"""A comparison's figures as still SVG pictures, for a README: a panel for each task, one legend."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..drawing import COLOURS, LEFT, RIGHT, Frame, axes, flops_ticks, picture, words
from ..escaping import escape_markup
from .schema import ComparedTask, Comparison, TaskRow

PANEL_WIDTH, ONE_PANEL_WIDTH, PANEL_HEIGHT = 520, 680, 340
_LEGEND_ROW, _LETTER = 24, 7.2
Point = tuple[float, float]


def score_flops_svg(comparison: Comparison, tasks: Sequence[str] | None = None) -> str:
    """Score against the budget, one panel a task (the paper's Figures 3 and 4).

    A system's line is its mean staircase (``Curve.mean``), its band ``low`` to ``high``, its ring the chosen
    policy; a system with one policy is a point with the spread as a bar. Dashed: the Pareto frontier of all
    systems' lines. Dotted: 95 % of the dense score, 5 % of the dense FLOPs. The y axis begins where the
    systems' best scores are in sight; what lies below is cut off.

    Args:
        tasks: names; default: all.
    """
    return _panels(comparison, tasks, "score against FLOPs", _score_panel, (("Pareto frontier", "best"),))


def layer_svg(comparison: Comparison, tasks: Sequence[str] | None = None) -> str:
    """Main score of every exit used alone, one panel a task (the paper's Figures 5 and 6).

    Mean over seeds, band from the smallest to the largest. A system of one exit is a dashed level line.
    """
    return _panels(comparison, tasks, "score of every exit", _layer_panel, ())


_Panel = Callable[[Comparison, ComparedTask, tuple[int, int], int, str], list[str]]


def _panels(
    comparison: Comparison,
    names: Sequence[str] | None,
    title: str,
    draw: _Panel,
    lines: Sequence[tuple[str, str]],
) -> str:
    tasks = [task for task in comparison.tasks if names is None or task.task in names]
    if not tasks:
        raise ValueError(f"no task of {[t.task for t in comparison.tasks]} is among {names}")
    columns = min(2, len(tasks))
    panel = PANEL_WIDTH if columns > 1 else ONE_PANEL_WIDTH
    parts = []
    for i, task in enumerate(tasks):
        corner = (i % columns * panel, i // columns * PANEL_HEIGHT)
        parts += draw(comparison, task, corner, panel, f"panel-{i}")
    top = -(-len(tasks) // columns) * PANEL_HEIGHT
    legend, bottom = _legend(comparison, lines, panel * columns, top)
    subject = comparison.system(comparison.subject).label
    shown = ", ".join(task.task for task in tasks)
    return picture(f"{subject} and others: {title}, {shown}", panel * columns, bottom, [*parts, *legend])


def _classes(comparison: Comparison, name: str) -> str:
    """A system's colour; a second round of colours is dotted."""
    index = [system.name for system in comparison.systems].index(name)
    return f"s{index % len(COLOURS)}" + (" second" if index >= len(COLOURS) else "")


def _legend(
    comparison: Comparison, lines: Sequence[tuple[str, str]], width: int, top: int
) -> tuple[list[str], int]:
    """Swatches and labels in rows, and where they end."""
    entries = [(system.label, _classes(comparison, system.name) + " line") for system in comparison.systems]
    parts, x, y = [], float(LEFT), top + 12
    for label, classes in [*entries, *lines]:
        length = 34 + _LETTER * len(label) + 18
        if x + length > width - RIGHT and x > LEFT:
            x, y = float(LEFT), y + _LEGEND_ROW
        parts.append(f'<path class="{classes}" d="M{x:.1f} {y}h24"/>')
        parts.append(words(x + 32, y + 4, label, "start"))
        x += length
    return parts, y + 20


def _clip(frame: Frame, name: str, parts: Sequence[str]) -> list[str]:
    """Parts cut off at the axes."""
    size = f'width="{frame.right - frame.left}" height="{frame.bottom - frame.top + 6}"'
    return [
        f'<clipPath id="{name}"><rect x="{frame.left}" y="{frame.top - 6}" {size}/></clipPath>',
        f'<g clip-path="url(#{name})">{"".join(parts)}</g>',
    ]


def _score_panel(
    comparison: Comparison, task: ComparedTask, at: tuple[int, int], width: int, name: str
) -> list[str]:
    dense = task.dense[task.metric].mean if task.dense else None
    if dense is not None and dense <= 0:
        dense = None  # no share can be drawn of it
    five = 2 * 0.05 * comparison.dense_macs
    costs = [2 * p.macs for row in task.rows for p in row.points] + [2 * task.budget, five]
    best = [max(p.score for p in row.points) for row in task.rows]
    high = max([*best, *(v for row in task.rows for v in row.curve.high if v is not None)])
    high = max(high, 0.95 * dense) if dense is not None else high
    in_sight = min([*best, 0.95 * dense] if dense is not None else best)
    low = max(
        min(p.score for row in task.rows for p in row.points), in_sight - 0.6 * (high - in_sight) - 0.02
    )
    margin = max(0.004, 0.06 * (high - low))
    frame = Frame(
        width,
        PANEL_HEIGHT,
        (min(costs) / 1.15, max(costs) * 1.15),
        (low - margin, high + margin),
        at,
    )
    caption = f"mean FLOPs an example at {comparison.sequence_length} tokens (logarithmic)"
    parts = axes(frame, f"{task.task}: {task.metric}, %", caption, flops_ticks(*frame.x_range))
    guides = [f'<path class="guide" d="M{frame.x(five):.1f} {frame.top}V{frame.bottom}"/>']
    parts.append(words(frame.x(five) + 5, frame.top + 12, "5 % of the dense FLOPs", "start"))
    if dense is not None:
        y = frame.y(0.95 * dense)
        guides.append(f'<path class="guide" d="M{frame.left} {y:.1f}H{frame.right}"/>')
        parts.append(words(frame.left + 5, y - 6, "95 % of the dense score", "start"))
    drawn = [part for row in task.rows for part in _band(frame, comparison, row)]
    drawn += [part for row in task.rows for part in _line(frame, comparison, task, row)]
    frontier = _steps(*_frontier(task), task.budget)
    drawn.append(f'<path class="best" d="{frame.path(frontier)}"/>')
    return [*parts, *_clip(frame, name, [*guides, *drawn])]


def _frontier(task: ComparedTask) -> tuple[list[float], list[float]]:
    """Budgets and scores of the corners, each once, from the cheapest."""
    curves = [row.curve for row in task.rows]
    points = {p for c in curves for p in zip(c.macs, c.mean, c.frontier, strict=True)}
    corners = sorted((budget, mean) for budget, mean, on in points if on and mean is not None)
    return [budget for budget, _ in corners], [mean for _, mean in corners]


def _steps(xs: Sequence[float], ys: Sequence[float | None], end: float) -> list[Point]:
    """Corners of a staircase: each value holds until the next budget, the last to ``end``."""
    known = [(2 * x, y) for x, y in zip(xs, ys, strict=True) if y is not None]
    corners: list[Point] = []
    for i, (x, y) in enumerate(known):
        following = known[i + 1][0] if i + 1 < len(known) else 2 * end
        corners += [(x, y), (following, y)]
    return corners


def _band(frame: Frame, comparison: Comparison, row: TaskRow) -> list[str]:
    if len(row.points) == 1:
        return []
    curve = row.curve
    low, high = (_steps(curve.macs, values, curve.macs[-1]) for values in (curve.low, curve.high))
    classes = _classes(comparison, row.system)
    return [f'<path class="{classes} band" d="{frame.path([*high, *reversed(low)])}Z"/>']


def _line(frame: Frame, comparison: Comparison, task: ComparedTask, row: TaskRow) -> list[str]:
    classes, title = _classes(comparison, row.system), comparison.system(row.system).label
    chosen = (frame.x(2 * row.macs.mean), frame.y(row.scores[task.metric].mean))
    if len(row.points) == 1:
        ends = [v for v in (row.curve.low[-1], row.curve.high[-1]) if v is not None]
        low, high = frame.y(min(ends)), frame.y(max(ends))
        bar = f'<path class="{classes} line" d="M{chosen[0]:.1f} {low:.1f}V{high:.1f}"/>'
        return [bar, _dot(chosen, classes, 6, title)]
    corners = _steps(row.curve.macs, row.curve.mean, row.curve.macs[-1])
    points = [(frame.x(2 * p.macs), frame.y(p.score)) for p in row.points]
    return [
        f'<path class="{classes} line" d="{frame.path(corners)}"/>',
        *(_dot(point, classes, 2.6, p.label) for point, p in zip(points, row.points, strict=True)),
        _dot(chosen, f"{classes} ring", 6, f"{title}, chosen"),
    ]


def _dot(at: Point, classes: str, radius: float, title: str) -> str:
    return (
        f'<circle class="{classes}" cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius}">'
        f"<title>{escape_markup(title)}</title></circle>"
    )


def _layer_panel(
    comparison: Comparison, task: ComparedTask, at: tuple[int, int], width: int, name: str
) -> list[str]:
    values = [v for row in task.rows for score in row.exit_scores for v in score.values]
    layers = sorted({layer for row in task.rows for layer in row.exit_layers})
    margin = max(0.004, 0.06 * (max(values) - min(values)))
    frame = Frame(
        width,
        PANEL_HEIGHT,
        (layers[0] - 0.3, layers[-1] + 0.3),
        (min(values) - margin, max(values) + margin),
        at,
        logarithmic=False,
    )
    ticks = [(float(layer), str(layer)) for layer in layers]
    parts = axes(frame, f"{task.task}: {task.metric} of each exit alone, %", "layer of the exit", ticks)
    drawn: list[str] = []
    for row in task.rows:
        drawn += _exits(frame, _classes(comparison, row.system), row)
    return [*parts, *_clip(frame, name, drawn)]


def _exits(frame: Frame, classes: str, row: TaskRow) -> list[str]:
    means = [
        (float(layer), score.mean) for layer, score in zip(row.exit_layers, row.exit_scores, strict=True)
    ]
    if len(means) == 1:
        y = frame.y(means[0][1])
        return [
            f'<path class="{classes} line level" d="M{frame.left} {y:.1f}H{frame.right}"/>',
            _dot((frame.x(means[0][0]), y), classes, 5, row.system),
        ]
    low, high = (
        [(x, pick(score.values)) for (x, _), score in zip(means, row.exit_scores, strict=True)]
        for pick in (min, max)
    )
    return [
        f'<path class="{classes} band" d="{frame.path([*high, *reversed(low)])}Z"/>',
        f'<path class="{classes} line" d="{frame.path(means)}"/>',
        *(_dot((frame.x(x), frame.y(y)), classes, 3, f"layer {x:g}") for x, y in means),
    ]
