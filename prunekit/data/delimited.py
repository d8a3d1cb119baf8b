"""Tables in plain text, csv and tsv: which character separates values, whether they are quoted, the rows."""

from __future__ import annotations

import contextlib
import csv
import logging
import re
import sys
from collections.abc import Iterator

from ..errors import DataError
from .opening import lines_of
from .tables import Columns, Malformed, Table

logger = logging.getLogger(__name__)

_SEPARATORS = {",": "a comma", "\t": "a tab", ";": "a semicolon", "|": "a vertical bar"}

# A value of a table that is separated by tabs, as csv quotes it or without quotation marks, and what ends it.
_VALUE = re.compile(r'(?:"([^"]*(?:""[^"]*)*)"|[^"\t\r\n]*)(?:\t|\r\n|\r|\n|\Z)')

# A record and the line it begins on.
_Record = tuple[int, list[str]]


def read_delimited(text: str, path: str, key: str, kind: str) -> Table:
    """A csv or tsv file. Every value is a string, and an empty one is missing.

    A file whose header is one name with the separator its kind should have, and several with another, is read
    with the other. Values may be quoted. In a tsv file that is separated by tabs a quotation mark is a
    character, as GLUE writes it, unless the whole file is quoted (:func:`_tabbed`).

    Args:
        text: of the file.
        path: of the file, as it is shown.
        key: what named it, for messages.
        kind: ``csv`` or ``tsv``.

    Raises:
        DataError: with the line.
    """
    if "\0" in text:
        line = sum(1 for _ in lines_of(text[: text.index("\0") + 1]))
        raise DataError(
            f"{key}: {path} is not a readable {kind} file: line {line} holds a NUL character",
            "write the file again, as text",
        )
    separator = _separator(text, "\t" if kind == "tsv" else ",", path)
    with _values_of_any_length():
        try:
            unquoted = kind == "tsv" and separator == "\t"
            records = _tabbed(text, path) if unquoted else list(_records(text, separator, True))
        except Malformed as error:
            raise DataError(
                f"{key}: {path} is not a readable {kind} file: the row on line {error.line} {error}",
                "close every quotation mark, and double those inside of a quoted value",
            ) from None
    if not records:
        return Table(path, {}, 0, lambda row: path)
    (line, header), *rows = records
    names = _names(header, f"{key}: {path}, line {line}")
    for line, row in rows:
        if len(row) != len(header):
            values = f"{len(row)} value{'s' if len(row) != 1 else ''}"
            columns = f"{len(header)} column{'s' if len(header) != 1 else ''}"
            raise DataError(
                f"{key}: {path}, line {line} has {values} where the header has {columns}",
                f"they are separated by {_SEPARATORS[separator]}: "
                + ("quote values that contain it" if separator != "\t" else _TABS_INSIDE)
                + ", and name every column in the header",
            )

    def read(name: str) -> list[str]:
        column = names.index(name)
        return [row[column] for _, row in rows]

    return Table(path, Columns(names, read), len(rows), lambda row: f"{path}, line {rows[row][0]}")


_TABS_INSIDE = "values must not contain tabs or line breaks, unless all of the file is quoted as csv is"


def _names(header: list[str], place: str) -> list[str]:
    # pandas' own name for a column without one, such as an index that was saved along
    names = [name.strip() or f"Unnamed: {number}" for number, name in enumerate(header)]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise DataError(
            f"{place}: the header names {repeated!r} more than once", "give every column a name of its own"
        )
    return names


def _separator(text: str, expected: str, path: str) -> str:
    header = next((line for line in lines_of(text) if line.strip()), "")

    def columns(separator: str) -> int:
        return len(next(csv.reader([header], delimiter=separator), []))

    with _values_of_any_length():
        if columns(expected) > 1:
            return expected
        best = max(_SEPARATORS, key=columns)
        if columns(best) == 1:
            return expected
    logger.warning(
        "%s: its header is separated by %s, not by %s: it is read so",
        path, _SEPARATORS[best], _SEPARATORS[expected],
    )  # fmt: skip
    return best


def _tabbed(text: str, path: str) -> list[_Record]:
    r"""The records of a tsv file, quoted or not.

    It is quoted if the header is, or if every quotation mark of the file is where a csv writer puts one
    (around a whole value, or doubled inside of one) and something shows such a writer: a doubled quotation
    mark, or rows that fit the header only if line breaks and tabs in quotation marks belong to values.
    Otherwise a quotation mark is a character.
    """
    plain = list(_records(text, "\t", False))
    if '"' not in text:
        return plain
    insides = _quoted_values(text)
    doubled = splits = fits = False
    if insides is not None:
        doubled = any('""' in inside for inside in insides)
        splits = any(re.search(r"[\t\r\n]", inside) for inside in insides)
        fits = _is_even(list(_records(text, "\t", True)))
    plain_fits = _is_even(plain)
    quoted_header = all(map(_in_quotation_marks, plain[0][1]))
    # One of GLUE's values may begin with a quotation mark, and one on a later line end with one.
    if quoted_header or (fits and (not plain_fits or (doubled and not splits))):
        logger.info(
            '%s: its values are quoted: the marks around them are taken off, and "" in them is one', path
        )
        return list(_records(text, "\t", True))
    strange = [line for line, row in plain if any(map(_looks_quoted, row))]
    if strange or (fits and splits):
        logger.warning(
            "%s: some of its values look quoted%s, but it is not evident that the file is: quotation marks "
            "are kept as they are. If it is quoted, name it .csv",
            path, f" (the first on line {strange[0]})" if strange else "",
        )  # fmt: skip
    return plain


def _in_quotation_marks(value: str) -> bool:
    return len(value) > 1 and value.startswith('"') and value.endswith('"')


def _looks_quoted(value: str) -> bool:
    """Whether a writer seems to have quoted a value that holds quotation marks: doubled, or escaped."""
    return _in_quotation_marks(value) and ('""' in value[1:-1] or '\\"' in value[1:-1])


def _is_even(records: list[_Record]) -> bool:
    """Whether every row has as many values as the header."""
    return len({len(row) for _, row in records}) == 1


def _quoted_values(text: str) -> list[str] | None:
    """What is in quotation marks, if every quotation mark of the text is where csv puts one."""
    found, position = [], 0
    while position < len(text):
        value = _VALUE.match(text, position)
        if value is None:
            return None
        if value[1] is not None:
            found.append(value[1])
        position = value.end()
    return found


def _records(text: str, separator: str, quoted: bool) -> Iterator[_Record]:
    """All records but blank lines."""
    reader = csv.reader(
        lines_of(text),
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    line = 1
    while True:
        try:
            record = next(reader, None)
        except csv.Error as error:
            never = "unexpected end" in str(error)
            raise Malformed(
                line,
                "opens a quotation mark that is never closed"
                if never
                else "has a quotation mark inside of a quoted value that is not doubled",
            ) from None
        if record is None:
            return
        if record and not (len(record) == 1 and record[0].isspace()):
            yield line, record
        line = reader.line_num + 1


@contextlib.contextmanager
def _values_of_any_length() -> Iterator[None]:
    """Lift the limit that Python's csv module sets to the length of a value."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)
