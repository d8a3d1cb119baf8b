"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from .escaping import escape

Row = Sequence[object]


def markdown_table(header: Sequence[str], rows: Sequence[Row]) -> str:
    """A table; cells are escaped, the first column is left-aligned, the others right."""
    lines = [_line(header), "| --- |" + " ---: |" * (len(header) - 1), *(_line(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _line(cells: Row) -> str:
    return "| " + " | ".join(escape(c) for c in cells) + " |"
