"""Tables in json: one array of objects, or an object a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from ..errors import DataError
from .opening import lines_of
from .tables import Columns, Malformed, Table

_EXPECTED = 'expected an object on each line, or one array of objects, such as [{"text": "...", "label": 1}]'
_BLANK = re.compile(r"[ \t\r\n]*")

# An object, and the line it begins on.
_Row = tuple[int, dict[str, Any]]


def read_json(text: str, path: str, key: str, kind: str) -> Table:
    """A json or jsonl file: one array of objects, or an object a line. A row may lack keys.

    Args:
        text: of the file.
        path: of the file, as it is shown.
        key: what named it, for messages.
        kind: ``json`` or ``jsonl``.

    Raises:
        DataError: with the line: not JSON, no object, a key twice, numbers or nesting beyond all measure.
    """
    array = text.lstrip().startswith("[")
    try:
        rows = list(_of_array(text) if array else _of_lines(text))
    except Malformed as error:
        raise DataError(
            f"{key}: {path}, line {error.line}, is not a readable {kind} file: {error}", _EXPECTED
        ) from None
    names = list(dict.fromkeys(name for _, row in rows for name in row))

    def locate(row: int) -> str:
        return f"{path}, line {rows[row][0]}" + (f", row {row + 1}" if array else "")

    return Table(path, Columns(names, lambda name: [row.get(name) for _, row in rows]), len(rows), locate)


def _of_lines(text: str) -> Iterator[_Row]:
    for number, line in enumerate(map(str.strip, lines_of(text)), 1):
        if line:
            value, end = _value(line, 0, number)
            if end < len(line):
                raise Malformed(number, "more than one value")
            yield number, _object(value, number)


def _of_array(text: str) -> Iterator[_Row]:
    line, counted, position = 1, 0, _after_blanks(text, text.index("[") + 1)
    more = text[position : position + 1] != "]"
    while more:
        line, counted = line + _line_ends(text[counted:position]), position
        value, position = _value(text, position, line)
        yield line, _object(value, line)
        position = _after_blanks(text, position)
        more = text[position : position + 1] == ","
        if more:
            position = _after_blanks(text, position + 1)
    line += _line_ends(text[counted:position])
    if text[position : position + 1] != "]":
        raise Malformed(line, "the array is not closed: expected a comma or ]")
    if text[position + 1 :].strip():
        raise Malformed(line, "there is something after the array")


def _after_blanks(text: str, position: int) -> int:
    return _BLANK.match(text, position).end()  # type: ignore[union-attr]


def _line_ends(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def _value(text: str, position: int, line: int) -> tuple[Any, int]:
    """The JSON value that begins at a position of a text, and where it ends."""
    try:
        return _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        there = line + _line_ends(text[position : error.pos])
        raise Malformed(there, f"{error.msg[:1].lower()}{error.msg[1:]} (column {error.colno})") from None
    except RecursionError:
        raise Malformed(line, "it is nested too deeply") from None
    except _Repeated as error:
        raise Malformed(line, f"the key {error} is there twice in an object") from None
    except ValueError:  # Python reads no longer ones
        raise Malformed(line, "it holds a number of thousands of digits") from None


def _object(value: Any, line: int) -> dict[str, Any]:
    if not isinstance(value, dict):
        kind = {list: "an array", str: "a text", type(None): "null", bool: "true or false"}
        raise Malformed(line, f"the row is {kind.get(type(value), 'a number')}, not an object")
    return value


class _Repeated(ValueError):
    pass


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Repeated(repr(next(name for name in names if names.count(name) > 1)))
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct)
