"""Texts and labels of a table: what they may be, and one clear message where they are not."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from typing import Any

from ..errors import DataError
from ..text import has_surrogates, shown
from .config import DataConfig
from .glue import GlueTask
from .tables import Table

logger = logging.getLogger(__name__)

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

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
# Python makes no number of thousands of digits.
_WHOLE = re.compile(r"([+-]?\d{1,1000})(?:\.0*)?", re.ASCII)


class MissingColumnError(DataError):
    """A table has no column of a name that is looked for."""


def find_columns(config: DataConfig, glue: GlueTask | None, table: Table) -> tuple[str, str | None]:
    """Columns of the text and of the second text: the recipe's, the GLUE task's, or the first known names."""
    text, pair = config.text, config.text_pair
    if glue is not None:
        return text or glue.text, pair or (glue.text_pair if text is None or glue.text_pair != text else None)
    if text is not None:
        return text, pair
    pairs = [(a, b) for a, b in _PAIRS if {a, b} <= table.columns.keys() and pair in (None, b)]
    singles = [(name, pair) for name in _SINGLES if name in table.columns]
    if not pairs and not singles:
        raise _missing(table, "the text", "text")
    return (*pairs, *singles)[0]


def find_label(config: DataConfig, table: Table) -> str:
    """Column of the label: the recipe's, or the first known name."""
    label = config.label or next((name for name in _LABELS if name in table.columns), None)
    if label is None:
        raise _missing(table, "the label", "label")
    return label


def read_texts(table: Table, column: str, key: str) -> list[str]:
    """The texts of a column, stripped.

    Raises:
        DataError: the column is missing or does not hold text, or a text is empty (with its place).
    """
    values = _column(table, column, key)
    for row, value in enumerate(values):
        if _is_missing(value):
            raise DataError(
                f"{table.locate(row)}: column {column!r} is empty, expected a text",
                "remove the line or fill the text in",
            )
        if not isinstance(value, str):
            raise _not_text(table, row, column, key, f"{type(value).__name__} {_short(value)}")
        _refuse_surrogates(value, table, row, column)
    if values and all(_NUMBER.fullmatch(value.strip()) for value in values):
        raise _not_text(table, 0, column, key, f"the number {_short(values[0])}, as in every other row")
    return [value.strip() for value in values]


def label_names_of(table: Table, column: str, given: Sequence[str] | None) -> list[str]:
    """Label names in the order of their numbers: the given ones, the table's own, or its values sorted.

    Integer labels sort by value, others alphabetically.

    Raises:
        DataError: the labels are missing, or numbers with fractions (regression); if nobody names them, also
            if they are all the same, or nearly all different.
    """
    values = _label_values(table, column)
    names = given or table.class_names.get(column)
    if names:
        return list(names)
    distinct = set(values)
    if len(distinct) == 1:
        raise DataError(
            f"{table.origin}: column {column!r} holds one label, {_short(values[0])!r}, in {len(values)} "
            "examples",
            "a classifier needs two classes at least; check data.label and the file",
        )
    if len(distinct) > max(20, len(values) // 2):
        raise DataError(
            f"{table.origin}: column {column!r} holds {len(distinct)} labels in {len(values)} examples",
            "name the column of the class with data.label, or all classes with data.label_names",
        )
    return sorted(distinct, key=int) if all(map(_is_integer, distinct)) else sorted(distinct)


def in_model_order(names: Sequence[str], of_model: Sequence[str] | None) -> list[str]:
    """The names of a model's classes, if it has all classes of the data; else the data's.

    What is taken is logged, where the two differ.

    Args:
        names: of the classes in the data, in the order of their numbers there.
        of_model: as :func:`~prunekit.data.label_names_of_model` gives them.
    """
    if of_model is None or list(of_model) == list(names):
        return list(names)
    if set(names) <= set(of_model):
        unused = [name for name in of_model if name not in set(names)]
        logger.info(
            "labels are numbered as the model numbers them: %s%s",
            _listed(of_model), f"; no training example has {_listed(unused)}" if unused else "",
        )  # fmt: skip
        return list(of_model)
    logger.info(
        "labels are numbered in the data's own order, %s: the model's, %s, do not have all of them",
        _listed(names), _listed(of_model),
    )  # fmt: skip
    return list(names)


def read_labels(table: Table, column: str, names: Sequence[str], renamed: bool = False) -> list[int]:
    """Labels as positions in ``names``; labels may be names, or, where names are words, their numbers.

    Numbers are what the table itself calls them, if it names its classes (hub, parquet).

    Args:
        table: with the column.
        column: of the label.
        names: of all classes.
        renamed: whether they may be new names for the numbers of classes that the table calls otherwise.

    Raises:
        DataError: the column is missing, a label is missing or outside the set (with its place), or the table
            calls its classes otherwise.
    """
    values = _label_values(table, column)
    numbers = {_canonical(name): number for number, name in enumerate(names)}
    if len(numbers) < len(names):
        raise DataError(
            f"two of the label names {_listed(names)} are the same", "give every class a name of its own"
        )
    own = table.class_names.get(column)
    if own is not None and set(own) <= set(names):
        called = {str(number): _canonical(name) for number, name in enumerate(own)}
        values = [called.get(value, value) for value in values]
    elif own is not None and not renamed:
        raise DataError(
            f"{table.origin}: the classes of column {column!r} are called {_listed(own)}, "
            f"and those that are expected {_listed(names)}",
            "name the classes alike in all files, or give all of them in data.label_names",
        )
    elif not any(map(_is_integer, numbers)):
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
                f"which is not one of {_listed(names)}",
                "correct the label, or list all of them in data.label_names",
            )
    return [numbers[value] for value in values]


def _label_values(table: Table, column: str) -> list[str]:
    """Every label as a string, whole numbers in their shortest form."""
    result = []
    for row, value in enumerate(_column(table, column, "label")):
        if _is_missing(value):
            raise DataError(
                f"{table.locate(row)}: column {column!r} is empty, expected a label",
                "take examples with labels, or remove the line",
            )
        if isinstance(value, float) and not value.is_integer():
            raise _regression(table, row, column, value)
        if not isinstance(value, (str, int, float)):
            raise DataError(
                f"{table.locate(row)}: column {column!r} holds {type(value).__name__} {_short(value)}, "
                "expected one label, a string or an integer",
                "name the column of the class with data.label",
            )
        text = str(int(value) if isinstance(value, float) else value)
        _refuse_surrogates(text, table, row, column)
        result.append(_canonical(text))
    if all(map(_NUMBER.fullmatch, result)):
        for row, value in enumerate(result):
            if not _is_integer(value):
                raise _regression(table, row, column, value)
    return result


def _canonical(label: str) -> str:
    """A label without blanks around it; a whole number in its shortest form, also where it is written 1.0."""
    label = label.strip()
    whole = _WHOLE.fullmatch(label)
    return label if whole is None else str(int(whole[1]))


def _is_missing(value: Any) -> bool:
    """Whether a value is none: null, an empty text, or a NaN, which is pandas' null among numbers."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def _refuse_surrogates(value: str, table: Table, row: int, column: str) -> None:
    if has_surrogates(value):
        raise DataError(
            f"{table.locate(row)}: column {column!r} holds half a character (a lone surrogate, as \\ud83d): "
            f"{_short(value)}",
            "no UTF-8 file can hold it: write the whole character, or remove it",
        )


def _column(table: Table, column: str, key: str) -> list[Any]:
    if column not in table.columns:
        raise _missing(table, f"column {column!r}", key)
    return table.columns[column]


def _missing(table: Table, what: str, key: str) -> MissingColumnError:
    found = ", ".join(repr(_short(name)) for name in list(table.columns)[:20])
    return MissingColumnError(
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
        f"{table.locate(row)}: column {column!r} holds {_short(value)}, a number with a fraction: this is "
        "regression",
        "prunekit classifies: give class labels, as strings or integers",
    )


def _is_integer(text: str) -> bool:
    return _WHOLE.fullmatch(text) is not None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(_short(name)) for name in names[:20]) + (" ..." if len(names) > 20 else "")


def _short(value: Any) -> str:
    text = shown(str(value), keep="")
    return text if len(text) <= 60 else text[:57] + "..."
