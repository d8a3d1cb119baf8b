"""A table of examples: its columns, each made when it is asked for, and where every row came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class Malformed(Exception):
    """A record that is not what its kind of file has; with the line it begins on."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


class Columns(Mapping[str, list[Any]]):
    """Columns by name, each read when it is first asked for: what nobody needs is never decoded.

    Args:
        names: of the columns, in their order.
        read: gives the values of one, a value a row.
    """

    def __init__(self, names: Sequence[str], read: Callable[[str], list[Any]]) -> None:
        self._read = read
        self._values: dict[str, list[Any] | None] = dict.fromkeys(names)

    def __getitem__(self, name: str) -> list[Any]:
        values = self._values[name]
        if values is None:
            values = self._values[name] = self._read(name)
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@dataclass
class Table:
    """The columns of one split as they were read, and the way back to where each row came from.

    Attributes:
        origin: what the rows were read from, for messages.
        columns: column name -> one Python value per row; ``None`` is a missing value.
        size: number of rows.
        locate: row number (from 0) -> its place, e.g. ``train.tsv, line 12``.
        class_names: column name -> label names, for columns that carry them (hub, parquet).
    """

    origin: str
    columns: Mapping[str, list[Any]]
    size: int
    locate: Callable[[int], str]
    class_names: Mapping[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.size
