"""Text from outside in Markdown and in markup: shown as it is, whatever it looks like."""

from __future__ import annotations

import html
import re

from ..text import shown

# What means something anywhere in a line (code, emphasis, links, HTML, cells, formulas, entities, the end of
# a heading), and what does so at the start of one (a heading, a rule, an item of a list).
_SPECIAL = re.compile(
    r"[\\`*_\[\]<>|~$]|&(?=#?\w+;)|:(?=//)|(?<=www)\."
    r"|(?<!\S)#|^(?:=|\+(?=\s|$)|-(?=[-\s]|$)|\d+[.)](?=\s|$))",
    re.IGNORECASE,
)


def escape(text: object) -> str:
    """Text that Markdown shows as it is, on one line: in a cell, a heading, a sentence."""
    flat = shown(" ".join(str(text).split()), keep="")
    return _SPECIAL.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", flat)


def code_block(text: str, language: str = "") -> str:
    """Text as a block of code, which nothing in it can end."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{shown(text)}\n{fence}\n"


def escape_markup(text: object) -> str:
    """Text that HTML and SVG show as it is, between tags and in quoted attributes."""
    return html.escape(shown(str(text), keep=""))
