"""Texts and labels of a table: what they may be, and one clear message where they are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DataError
from .config import DataConfig
from .glue import GlueTask
from .sources import Table

_PAIRS = (
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("premise", "hypothesis"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("text", "text_pair"),
)
_SINGLES = ("text", "sentence", "review", "content")
_LABELS = ("label", "labels")


@dataclass(frozen=True)
class Columns:
    """Names of the columns that hold the texts and the label."""

    text: str
    text_pair: str | None
    label: str


def find_columns(config: DataConfig, glue: GlueTask | None, table: Table) -> Columns:
    """The recipe's columns; else the GLUE task's; else the first known names that the table has."""
    text, pair = config.text, config.text_pair
    if glue is not None:
        pair = pair or (glue.text_pair if text is None or glue.text_pair != text else None)
        text = text or glue.text
    elif text is None:
        pairs = [(a, b) for a, b in _PAIRS if {a, b} <= table.columns.keys() and pair in (None, b)]
        singles = [(name, pair) for name in _SINGLES if name in table.columns]
        found = [*pairs, *singles]
        if not found:
            raise _missing(table, "the text", "text")
        text, pair = found[0]
    label = config.label or next((name for name in _LABELS if name in table.columns), None)
    if label is None:
        raise _missing(table, "the label", "label")
    return Columns(text, pair, label)


def read_texts(table: Table, column: str, key: str) -> list[str]:
    """The texts of a column, stripped.

    Raises:
        DataError: the column is missing or does not hold text, or a text is empty (with its place).
    """
    values = _column(table, column, key)
    for row, value in enumerate(values):
        if value is None or (isinstance(value, str) and not value.strip()):
            raise DataError(
                f"{table.locate(row)}: column {column!r} is empty, expected a text",
                "remove the line or fill the text in",
            )
        if not isinstance(value, str):
            raise _not_text(table, row, column, key, f"{type(value).__name__} {_short(value)}")
    if values and all(_is_number(value) for value in values):
        raise _not_text(table, 0, column, key, f"the number {_short(values[0])}, as in every other row")
    return [value.strip() for value in values]


def label_names_of(table: Table, column: str, given: Sequence[str] | None) -> list[str]:
    """Label names in the order of their numbers: the given ones, the table's own, or its values sorted.

    Integer labels sort by value, others alphabetically.

    Raises:
        DataError: the labels are missing, numbers with fractions (regression), all the same, or
            nearly all different.
    """
    values = _label_values(table, column)
    names = list(given or table.class_names.get(column) or _sorted_names(values))
    distinct = set(values)
    if len(distinct) == 1:
        raise DataError(
            f"{table.origin}: column {column!r} holds one label, {values[0]!r}, in {len(values)} examples",
            "a classifier needs two classes at least; check data.label and the file",
        )
    if len(distinct) > max(20, len(values) // 2):
        raise DataError(
            f"{table.origin}: column {column!r} holds {len(distinct)} labels in {len(values)} examples",
            "name the column of the class with data.label",
        )
    return names


def read_labels(table: Table, column: str, names: Sequence[str]) -> list[int]:
    """Labels as positions in ``names``; labels may be names, or, where names are words, their numbers.

    Raises:
        DataError: the column is missing, a label is missing or outside the set (with its place).
    """
    values = _label_values(table, column)
    numbers = {name: number for number, name in enumerate(names)}
    if not any(_is_integer(name) for name in names):
        numbers.update({str(number): number for number in range(len(names))})
    for row, value in enumerate(values):
        if value not in numbers:
            if all(other == "-1" for other in values):
                raise DataError(
                    f"{table.origin}: column {column!r} is -1 in every row: these examples are unlabelled",
                    "take examples with labels, such as the task's validation data",
                )
            raise DataError(
                f"{table.locate(row)}: column {column!r} holds the label {_short(value)}, "
                f"which is not one of {', '.join(map(repr, names[:20]))}{' ...' if len(names) > 20 else ''}",
                "correct the label, or list all of them in data.label_names",
            )
    return [numbers[value] for value in values]


def _label_values(table: Table, column: str) -> list[str]:
    """Every label as a string, integers in their shortest form."""
    result = []
    for row, value in enumerate(_column(table, column, "label")):
        if value is None or (isinstance(value, str) and not value.strip()):
            raise DataError(
                f"{table.locate(row)}: column {column!r} is empty, expected a label",
                "take examples with labels, or remove the line",
            )
        if isinstance(value, float):
            raise _regression(table, row, column, value)
        if not isinstance(value, (str, int)):
            raise DataError(
                f"{table.locate(row)}: column {column!r} holds {type(value).__name__} {_short(value)}, "
                "expected one label, a string or an integer",
                "name the column of the class with data.label",
            )
        text = str(value).strip()
        result.append(str(int(text)) if _is_integer(text) else text)
    if all(_is_number(value) for value in result):
        for row, value in enumerate(result):
            if not _is_integer(value):
                raise _regression(table, row, column, value)
    return result


def _sorted_names(values: Sequence[str]) -> list[str]:
    distinct = set(values)
    return sorted(distinct, key=int) if all(map(_is_integer, distinct)) else sorted(distinct)


def _column(table: Table, column: str, key: str) -> list[Any]:
    if column not in table.columns:
        raise _missing(table, f"column {column!r}", key)
    return table.columns[column]


def _missing(table: Table, what: str, key: str) -> DataError:
    found = ", ".join(repr(_short(name)) for name in list(table.columns)[:20])
    return DataError(
        f"{table.origin}: cannot find {what} (data.{key}); its columns are {found}",
        f"name the column: data.{key}=...",
    )


def _not_text(table: Table, row: int, column: str, key: str, what: str) -> DataError:
    return DataError(
        f"{table.locate(row)}: column {column!r} holds {what}, expected a text",
        f"name the column of the text with data.{key}",
    )


def _regression(table: Table, row: int, column: str, value: Any) -> DataError:
    return DataError(
        f"{table.locate(row)}: column {column!r} holds {value}, a number with a fraction: this is regression",
        "prunekit classifies: give class labels, as strings or integers",
    )


def _is_integer(text: str) -> bool:
    digits = text[1:] if text[:1] in ("-", "+") else text
    return digits.isascii() and digits.isdigit()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _short(value: Any) -> str:
    text = str(value) if not isinstance(value, str) else value
    return text if len(text) <= 60 else text[:57] + "..."
