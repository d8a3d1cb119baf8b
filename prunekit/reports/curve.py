"""The performance-against-FLOPs curve as a still SVG picture, for a README."""

from __future__ import annotations

from .drawing import COLOURS, Frame, axes, flops_ticks, picture, words
from .schema import RunReport, SystemReport
from .words import chosen_point


def curve_svg(report: RunReport, width: int = 760, height: int = 380) -> str:
    """Score against mean FLOPs at the fixed length, one curve a system, dense and chosen points marked.

    Light and dark by the reader's setting; no scripts, no fonts, no other resources.
    """
    dense = report.systems[0].evaluation.dense
    metric = report.systems[0].evaluation.metrics[0]
    dense_score = dense.scores[metric] if dense.scores else None
    points = [p for s in report.systems for p in _points(s)]
    xs = [p[0] for p in points] + [2.0 * dense.macs]
    # Of a score that is not above 0 there is no share.
    guide = 0.95 * dense_score if dense_score is not None and dense_score > 0 else None
    ys = [p[1] for p in points] + [y for y in (dense_score, guide) if y is not None]
    margin = max(0.004, 0.08 * (max(ys) - min(ys)))
    frame = Frame(width, height, (min(xs) / 1.25, max(xs) * 1.4), (min(ys) - margin, max(ys) + margin))
    length = report.systems[0].evaluation.sequence_length
    caption = f"mean FLOPs an example at {length} tokens (logarithmic)"
    parts = axes(frame, f"{metric}, %", caption, flops_ticks(*frame.x_range))
    if guide is not None:
        y = frame.y(guide)
        parts.append(f'<path class="guide" d="M{frame.left} {y:.1f}H{frame.right}"/>')
        parts.append(words(frame.right, y - 6, "95 % of the dense score", "end"))
    for i, system in enumerate(report.systems):
        parts += _curve(frame, system, f"s{i % len(COLOURS)}", len(report.systems) > 1, i)
    if dense_score is not None:
        x, y = frame.x(2.0 * dense.macs), frame.y(dense_score)
        parts.append(f'<path class="ink" d="M{x:.1f} {y - 8:.1f}l8 8l-8 8l-8 -8Z"/>')
        parts.append(words(x, y - 15, "dense", "middle", True))
    return picture(f"{report.name}: {metric} against FLOPs", width, height, parts)


def _points(system: SystemReport) -> list[tuple[float, float]]:
    return sorted({point for line in _lines(system) for point in line})


def _lines(system: SystemReport) -> list[list[tuple[float, float]]]:
    """The points of each kind of policy, from the cheapest to all layers, which end every line."""
    metric, end = system.evaluation.metrics[0], system.evaluation.all_layers
    kinds = dict.fromkeys(str((p.policy or {}).get("name")) for p in system.evaluation.points)
    return [
        sorted((2.0 * p.all.macs, p.all.scores[metric]) for p in [*some, end])
        for kind in kinds
        if (some := [p for p in system.evaluation.points if str((p.policy or {}).get("name")) == kind])
    ] or [[(2.0 * end.all.macs, end.all.scores[metric])]]


def _curve(frame: Frame, system: SystemReport, colour: str, several: bool, index: int) -> list[str]:
    parts = []
    for line in _lines(system):
        parts.append(f'<path class="{colour} line" d="{frame.path(line)}"/>')
    points = [(frame.x(x), frame.y(y)) for x, y in _points(system)]
    parts += [f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in points]
    chosen = chosen_point(system).all
    x, y = frame.x(2.0 * chosen.macs), frame.y(chosen.scores[system.evaluation.metrics[0]])
    parts.append(f'<circle class="{colour} ring" cx="{x:.1f}" cy="{y:.1f}" r="7"/>')
    if several:
        row, right = frame.bottom - 12 - 20 * index, frame.right - 8
        parts.append(f'<circle class="{colour}" cx="{right}" cy="{row - 4}" r="5"/>')
        parts.append(words(right - 12, row, system.name, "end"))
    else:
        label = f"{chosen.speedup:.1f}x fewer FLOPs"
        half = 3.6 * len(label)
        at = min(max(x, frame.left + half), frame.right - half)
        parts.append(words(at, y - 14, label, "middle", True))
    return parts
