"""Tables of Arrow: a parquet file, or a dataset of the hub. Only plain columns are decoded."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from .opening import cannot_read
from .tables import Columns, Table

if TYPE_CHECKING:
    import pyarrow

logger = logging.getLogger(__name__)


def read_parquet(file: str, path: str, key: str) -> Table:
    """A parquet file. Its columns are read as they are asked for, and no path or link in it is followed.

    Args:
        file: its path.
        path: the same as it is shown.
        key: what named it, for messages.

    Raises:
        DataError: it is no parquet file, or names a column twice.
    """
    import pyarrow.parquet

    def opened(use: Callable[[Any], Any]) -> Any:
        try:
            with open(file, "rb") as stream:  # noqa: PTH123
                return use(pyarrow.parquet.ParquetFile(stream))
        except OSError as error:
            if error.errno is not None:
                raise cannot_read(f"{key}: {path}", error) from error
            reason: Exception = error
        except (pyarrow.ArrowException, ValueError) as error:
            reason = error
        words = " ".join(str(reason).split())[:300]
        raise DataError(
            f"{key}: {path} is not a readable parquet file: {words}", "write the file again"
        ) from reason

    schema, size = opened(lambda parquet: (parquet.schema_arrow, parquet.metadata.num_rows))
    repeated = next((name for name in schema.names if schema.names.count(name) > 1), None)
    if repeated is not None:
        raise DataError(
            f"{key}: {path} names the column {repeated!r} more than once",
            "give every column a name of its own",
        )

    def locate(row: int) -> str:
        return f"{path}, row {row + 1}"

    def read(name: str) -> list[Any]:
        _check_plain(schema.field(name).type, name, path)
        column = opened(lambda parquet: parquet.read(columns=[name]).column(name))
        return values_of(column, name, locate)

    return Table(path, Columns(schema.names, read), size, locate, _class_names(schema, path))


def read_dataset(data: Any, origin: str) -> Table:
    """A split of the hub. Its columns are read as they are asked for, and no image or sound is decoded."""

    def locate(row: int) -> str:
        return f"{origin}, row {row + 1}"

    def read(name: str) -> list[Any]:
        column = data.select_columns([name]).with_format("arrow")[:].column(name)
        _check_plain(column.type, name, origin)
        return values_of(column, name, locate)

    names = {name: list(kind.names) for name, kind in data.features.items() if hasattr(kind, "names")}
    return Table(origin, Columns(data.column_names, read), len(data), locate, names)


def _check_plain(kind: pyarrow.DataType, name: str, origin: str) -> None:
    import pyarrow.types as types

    inner = kind.value_type if types.is_dictionary(kind) else kind
    plain = (
        types.is_string, types.is_large_string, types.is_string_view, types.is_integer, types.is_floating,
        types.is_boolean, types.is_null,
    )  # fmt: skip
    if not any(is_plain(inner) for is_plain in plain):
        raise DataError(
            f"{origin}: column {name!r} is of the type {kind}, expected texts or numbers",
            "name another column: data.text=..., data.label=...",
        )


def values_of(column: pyarrow.ChunkedArray, name: str, locate: Callable[[int], str]) -> list[Any]:
    """The values of a column.

    Raises:
        DataError: a text is not UTF-8, with its place.
    """
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        for row, value in enumerate(column):
            try:
                value.as_py()
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{locate(row)}: column {name!r} is not UTF-8 text: byte {error.start + 1} is "
                    f"0x{error.object[error.start]:02x}",
                    "write the file again, with texts in UTF-8",
                ) from None
        raise
    return values


def _class_names(schema: pyarrow.Schema, path: str) -> dict[str, list[str]]:
    """Names of the classes of columns, where ``datasets`` has left them in the file."""
    written = (schema.metadata or {}).get(b"huggingface")
    if written is None:
        return {}
    try:
        features = json.loads(written)["info"]["features"]
        kinds = {name: (kind["_type"], kind.get("names")) for name, kind in features.items()}
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        logger.warning("%s: what it says of its classes cannot be read and is not used", path)
        return {}
    found = {}
    for name, (kind, names) in kinds.items():
        if kind == "ClassLabel" and name in schema.names and isinstance(names, list):
            if all(isinstance(one, str) for one in names) and len(set(names)) == len(names) > 0:
                found[name] = names
            else:
                logger.warning("%s: the names of the classes in column %r are no names", path, name)
    return found
