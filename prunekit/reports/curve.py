"""The performance-against-FLOPs curve as a still SVG picture, for a README."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass

from .schema import RunReport, SystemReport
from .words import chosen_point, flops_words

# Light and dark; the page's colours.
_COLOURS = (
    ("#2468c4", "#6fa8f5"),
    ("#c2501c", "#f08a58"),
    ("#0f7d58", "#46c797"),
    ("#7a4bc4", "#b295f0"),
    ("#b3303c", "#f07f88"),
    ("#8a6a00", "#d9b544"),
)
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 20, 34, 44


@dataclass(frozen=True)
class _Frame:
    """Data to picture: x logarithmic, y linear."""

    width: int
    height: int
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = map(math.log, self.x_range)
        return _LEFT + (math.log(value) - low) / (high - low) * (self.width - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return self.height - _BOTTOM - (value - low) / (high - low) * (self.height - _TOP - _BOTTOM)


def curve_svg(report: RunReport, width: int = 760, height: int = 380) -> str:
    """Score against mean FLOPs at the fixed length, one curve a system, dense and chosen points marked.

    Light and dark by the reader's setting; no scripts, no fonts, no other resources.
    """
    dense = report.systems[0].evaluation.dense
    metric = report.systems[0].evaluation.metrics[0]
    dense_score = dense.scores[metric] if dense.scores else None
    points = [p for s in report.systems for p in _points(s)]
    xs = [p[0] for p in points] + [2.0 * dense.macs]
    ys = [p[1] for p in points] + ([dense_score, 0.95 * dense_score] if dense_score is not None else [])
    margin = max(0.004, 0.08 * (max(ys) - min(ys)))
    frame = _Frame(width, height, (min(xs) / 1.25, max(xs) * 1.4), (min(ys) - margin, max(ys) + margin))
    parts = [*_axes(frame, metric, report.systems[0].evaluation.sequence_length)]
    if dense_score is not None:
        y = frame.y(0.95 * dense_score)
        parts.append(f'<path class="guide" d="M{_LEFT} {y:.1f}H{width - _RIGHT}"/>')
        parts.append(_text(width - _RIGHT, y - 6, "95 % of the dense score", "end"))
    for i, system in enumerate(report.systems):
        parts += _curve(frame, system, f"s{i % len(_COLOURS)}", len(report.systems) > 1, i)
    if dense_score is not None:
        x, y = frame.x(2.0 * dense.macs), frame.y(dense_score)
        parts.append(f'<path class="ink" d="M{x:.1f} {y - 8:.1f}l8 8l-8 8l-8 -8Z"/>')
        parts.append(_text(x, y - 15, "dense", "middle", True))
    title = html.escape(f"{report.name}: {metric} against FLOPs")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{title}"><title>{title}</title>{_style()}'
        f'<rect class="page" width="{width}" height="{height}" rx="10"/>{"".join(parts)}</svg>\n'
    )


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


def _curve(frame: _Frame, system: SystemReport, colour: str, several: bool, index: int) -> list[str]:
    parts = []
    for line in _lines(system):
        path = "M" + "L".join(f"{frame.x(x):.1f} {frame.y(y):.1f}" for x, y in line)
        parts.append(f'<path class="{colour} line" d="{path}"/>')
    points = [(frame.x(x), frame.y(y)) for x, y in _points(system)]
    parts += [f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in points]
    chosen = chosen_point(system).all
    x, y = frame.x(2.0 * chosen.macs), frame.y(chosen.scores[system.evaluation.metrics[0]])
    parts.append(f'<circle class="{colour} ring" cx="{x:.1f}" cy="{y:.1f}" r="7"/>')
    if several:
        row, right = frame.height - _BOTTOM - 12 - 20 * index, frame.width - _RIGHT - 8
        parts.append(f'<circle class="{colour}" cx="{right}" cy="{row - 4}" r="5"/>')
        parts.append(_text(right - 12, row, system.name, "end"))
    else:
        label = f"{chosen.speedup:.1f}x fewer FLOPs"
        half = 3.6 * len(label)
        at = min(max(x, _LEFT + half), frame.width - _RIGHT - half)
        parts.append(_text(at, y - 14, label, "middle", True))
    return parts


def _axes(frame: _Frame, metric: str, length: int) -> list[str]:
    bottom = frame.height - _BOTTOM
    parts = [f'<path class="axis" d="M{_LEFT} {bottom}H{frame.width - _RIGHT}"/>']
    for value in _even_ticks(*frame.y_range):
        parts.append(f'<path class="grid" d="M{_LEFT} {frame.y(value):.1f}H{frame.width - _RIGHT}"/>')
        parts.append(_text(_LEFT - 8, frame.y(value) + 4, f"{100 * value:g}", "end"))
    for value in _log_ticks(*frame.x_range):
        words = flops_words(value / 2).replace("FLOPs", "").replace(".00", "").replace(".0", "")
        parts.append(_text(frame.x(value), bottom + 18, words, "middle"))
    parts.append(_text(12, 20, f"{metric}, %", "start"))
    caption = f"mean FLOPs an example at {length} tokens (logarithmic)"
    parts.append(_text(frame.width - _RIGHT, frame.height - 8, caption, "end"))
    return parts


def _even_ticks(low: float, high: float, count: int = 5) -> list[float]:
    power = 10.0 ** math.floor(math.log10((high - low) / count))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= (high - low) / count)
    return [round(i * step, 10) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= m * 10.0**p <= high]


def _text(x: float, y: float, words: str, anchor: str, strong: bool = False) -> str:
    weight = ' font-weight="600" class="ink"' if strong else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{html.escape(words)}</text>'


def _style() -> str:
    def rules(dark: int) -> str:
        page, ink, soft, grid = (
            ("#ffffff", "#16181d", "#4d525c", "#e6e6e0"),
            ("#1c1e24", "#f1f1ee", "#bcc0c8", "#30333b"),
        )[dark]
        colours = "".join(
            f".s{i}{{fill:{pair[dark]};stroke:{pair[dark]}}}" for i, pair in enumerate(_COLOURS)
        )
        return (
            f".page,.ring{{fill:{page}}}text{{fill:{soft}}}.ink{{fill:{ink}}}{colours}"
            f".ring{{fill:{page}}}.grid,.axis{{stroke:{grid}}}.guide{{stroke:{soft}}}"
        )

    return (
        "<style>text{font:12.5px system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif}"
        f"{rules(0)}.line,.line.line{{fill:none;stroke-width:2}}.ring{{stroke-width:2.5}}"
        ".guide{stroke-dasharray:4 4;fill:none}"
        f"@media(prefers-color-scheme:dark){{{rules(1)}.line.line{{fill:none}}}}</style>"
    )
