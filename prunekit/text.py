"""Text from outside, made safe to show: no character of it steers a terminal or breaks a table."""

from __future__ import annotations

import re
from collections.abc import Sequence

# C0 and C1 controls, DEL, lone surrogates, separators of lines and paragraphs, marks that reorder text, and
# the two at the end of the plane, which XML may not hold.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NAMED = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def shown(text: str, keep: str = "\n\t") -> str:
    r"""``text`` with every control character as a visible escape, e.g. ``\x1b``.

    Args:
        text: of any origin: a file, an argument, a model's labels, an error of a library.
        keep: control characters that stay as they are; ``""`` gives one line without tabs.
    """
    return _UNSAFE.sub(lambda match: match[0] if match[0] in keep else _escape(match[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    return _NAMED.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def has_surrogates(text: str) -> bool:
    """Whether ``text`` holds half a surrogate pair, which no UTF-8 file can hold."""
    return _SURROGATE.search(text) is not None


def table(header: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1) -> str:
    """Columns in plain text, the first ``left`` of them aligned to the left, the others to the right."""
    lines = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def line(cells: Sequence[str]) -> str:
        aligned = [
            c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(aligned).rstrip()

    return "\n".join(map(line, lines))
