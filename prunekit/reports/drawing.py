"""What still pictures (SVG) are drawn with: colours, axes, words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .escaping import escape_markup
from .words import flops_words

# Light and dark: --s1 to --s8 of the page's style.
COLOURS = (
    ("#2468c4", "#6fa8f5"),
    ("#ad3611", "#ff6251"),
    ("#ae8411", "#e8ca0c"),
    ("#512e5e", "#875e93"),
    ("#09a28d", "#5be9b8"),
    ("#865174", "#ca84a7"),
    ("#7a120c", "#b1500f"),
    ("#042ea8", "#346ae3"),
)
LEFT, RIGHT, TOP, BOTTOM = 52, 20, 34, 44


@dataclass(frozen=True)
class Frame:
    """Data to picture: y linear, x logarithmic or linear, at a place of the picture.

    Args:
        width, height: of the frame with the margins around its axes, in pixels.
        x_range, y_range: of the data.
        at: top left corner.
    """

    width: int
    height: int
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    at: tuple[int, int] = (0, 0)
    logarithmic: bool = True

    @property
    def left(self) -> int:
        """Of the axes."""
        return self.at[0] + LEFT

    @property
    def right(self) -> int:
        """Of the axes."""
        return self.at[0] + self.width - RIGHT

    @property
    def top(self) -> int:
        """Of the axes."""
        return self.at[1] + TOP

    @property
    def bottom(self) -> int:
        """Of the axes."""
        return self.at[1] + self.height - BOTTOM

    def x(self, value: float) -> float:
        """Pixels from the left of the picture."""
        low, high = map(math.log, self.x_range) if self.logarithmic else self.x_range
        value = math.log(value) if self.logarithmic else value
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Pixels from the top of the picture."""
        low, high = self.y_range
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        """A line's ``d`` through points of the data."""
        return "M" + "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)


def axes(frame: Frame, title: str, caption: str, x_ticks: Sequence[tuple[float, str]]) -> list[str]:
    """Grid, ticks and their words; y is shown in percent."""
    parts = [f'<path class="axis" d="M{frame.left} {frame.bottom}H{frame.right}"/>']
    for value in even_ticks(*frame.y_range):
        y = frame.y(value)
        parts.append(f'<path class="grid" d="M{frame.left} {y:.1f}H{frame.right}"/>')
        parts.append(words(frame.left - 8, y + 4, f"{100 * value:g}", "end"))
    parts += [words(frame.x(value), frame.bottom + 18, label, "middle") for value, label in x_ticks]
    parts.append(words(frame.at[0] + 12, frame.at[1] + 20, title, "start"))
    parts.append(words(frame.right, frame.bottom + 36, caption, "end"))
    return parts


def even_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """About so many round numbers, evenly."""
    power = 10.0 ** math.floor(math.log10((high - low) / count))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= (high - low) / count)
    return [round(i * step, 10) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def flops_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """1, 2 and 5 times powers of ten, and some between where these are few, with their words: ``200 M``."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values: list[float] = []
    for steps in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        if len(values) < 4:
            values = [m * 10.0**p for p in powers for m in steps if low <= m * 10.0**p <= high]
    return [
        (v, flops_words(v / 2).replace("FLOPs", "").replace(".00", "").replace(".0", "").strip())
        for v in values
    ]


def words(x: float, y: float, text: str, anchor: str, strong: bool = False) -> str:
    """Words in the picture; ``anchor``: start, middle or end."""
    weight = ' font-weight="600" class="ink"' if strong else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape_markup(text)}</text>'


def picture(title: str, width: int, height: int, parts: Sequence[str]) -> str:
    """The SVG: light and dark by the reader's setting; no scripts, no fonts, no other resources."""
    title = escape_markup(title)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{title}"><title>{title}</title>{_style()}'
        f'<rect class="page" width="{width}" height="{height}" rx="10"/>{"".join(parts)}</svg>\n'
    )


def _style() -> str:
    def rules(dark: int) -> str:
        page, ink, soft, grid = (
            ("#ffffff", "#16181d", "#4d525c", "#e6e6e0"),
            ("#1c1e24", "#f1f1ee", "#bcc0c8", "#30333b"),
        )[dark]
        colours = "".join(f".s{i}{{fill:{pair[dark]};stroke:{pair[dark]}}}" for i, pair in enumerate(COLOURS))
        return (
            f".page,.ring{{fill:{page}}}text{{fill:{soft}}}.ink{{fill:{ink}}}{colours}"
            f".ring{{fill:{page}}}.grid,.axis{{stroke:{grid}}}.guide{{stroke:{soft}}}.best{{stroke:{ink}}}"
        )

    return (
        "<style>text{font:12.5px system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif}"
        f"{rules(0)}.line,.line.line{{fill:none;stroke-width:2}}.ring{{stroke-width:2.5}}"
        ".guide{stroke-dasharray:4 4;fill:none}.best{stroke-dasharray:7 5;stroke-width:1.4;fill:none}"
        ".second.line{stroke-dasharray:2 3}.level.level{stroke-dasharray:8 4}"
        ".band.band{stroke:none;opacity:.14}"
        f"@media(prefers-color-scheme:dark){{{rules(1)}.line.line{{fill:none}}}}</style>"
    )
