"""Reading examples from files and from the Hugging Face hub, through ``datasets``."""

from __future__ import annotations

import codecs
import contextlib
import csv
import glob
import itertools
import json
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

from ..errors import DataError

_BUILDERS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}


@dataclass
class Table:
    """The columns of one split as they were read, and the way back to where each row came from.

    Attributes:
        origin: what the rows were read from, for messages.
        columns: column name -> one Python value per row; ``None`` is a missing value.
        class_names: column name -> label names, for columns that carry them (hub, parquet).
        locate: row number (from 0) -> its place, e.g. ``train.tsv, line 12``.
    """

    origin: str
    columns: dict[str, list[Any]]
    locate: Callable[[int], str]
    class_names: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), []))


def read_file(path: str, key: str) -> Table:
    """Read a csv, tsv, json, jsonl or parquet file whole.

    A tsv file is read as GLUE writes it: a header row and no quoting, so that a quotation mark is a
    character like any other; a csv file may quote. Every csv and tsv value stays a string. Nothing is
    written beside the file: what ``datasets`` converts goes to a temporary folder.

    Args:
        path: the file.
        key: the recipe's key that named it, for messages.

    Raises:
        DataError: the file is missing, empty, of an unknown kind or cannot be parsed.
    """
    file = Path(path)
    if not file.is_file():
        kind = "is a folder, not a file" if file.is_dir() else "does not exist"
        raise DataError(f"{key}: {path} {kind}", f"give {key} the path of a {_known()} file")
    suffix = file.suffix.lower()
    if suffix not in _BUILDERS:
        raise DataError(
            f"{key}: {path} has the unknown extension {suffix or '(none)'!r}", f"expected one of {_known()}"
        )
    try:
        if _is_empty(file):
            raise DataError(f"{key}: {path} holds no examples: it is empty", "give a file with examples")
        options = _csv_options(file, key) if _BUILDERS[suffix] == "csv" else {}
        data, names = _load(_BUILDERS[suffix], file, options)
    except DataError:
        raise
    except Exception as error:  # datasets passes on whatever its readers raise
        _unreadable(file, key, error)
    return Table(str(file), data, lambda row: _place(file, row), names)


def read_hub(
    name: str, config: str | None, splits: Mapping[str, str], optional: Collection[str] = ()
) -> dict[str, Table]:
    """Read splits of a dataset of the Hugging Face hub, from the hub's cache when it is there.

    Args:
        name: the hub's name, e.g. ``nyu-mll/glue``.
        config: configuration (subset) of the dataset.
        splits: our split name -> the hub's.
        optional: of ours, those that may be missing.

    Raises:
        DataError: the hub cannot be reached, or it has no such dataset, configuration or split.
    """
    import datasets

    what = f"hub dataset {name!r}" + (f" ({config})" if config else "")
    try:
        with _quiet():
            loaded = datasets.load_dataset(name, config)
    except (ConnectionError, TimeoutError) as error:
        raise DataError(
            f"no network for {what}: {_line(error)}",
            "give local files: data.train_file=... data.test_file=..., or connect and run again",
        ) from error
    except Exception as error:  # datasets, huggingface_hub and the builders each raise their own
        raise DataError(
            f"{what} cannot be read: {type(error).__name__}: {_line(error)}",
            "check the name and data.hub_config, or give local files: data.train_file=... data.test_file=...",
        ) from error
    tables = {}
    for ours, theirs in splits.items():
        if theirs in loaded:
            tables[ours] = _hub_table(loaded[theirs], f"{what}, split {theirs!r}")
        elif ours not in optional:
            raise DataError(
                f"{what} has no split {theirs!r} for {ours}; it has {', '.join(map(str, loaded))}",
                f"name the split: data.hub_splits.{ours}=...",
            )
    return tables


def _hub_table(data: Any, origin: str) -> Table:
    return Table(origin, _columns(data), lambda row: f"{origin}, row {row + 1}", _class_names(data))


def _load(
    builder: str, file: Path, options: dict[str, Any]
) -> tuple[dict[str, list[Any]], dict[str, list[str]]]:
    import datasets

    # keep_in_memory: the temporary folder is gone when this returns
    with tempfile.TemporaryDirectory(prefix="prunekit-data-") as cache, _quiet():
        data = datasets.load_dataset(
            builder,
            data_files={"train": glob.escape(str(file.absolute()))},
            split="train",
            cache_dir=cache,
            keep_in_memory=True,
            **options,
        )
        return _columns(data), _class_names(data)


def _columns(data: Any) -> dict[str, list[Any]]:
    return {name: list(data[name]) for name in data.column_names}


def _class_names(data: Any) -> dict[str, list[str]]:
    return {name: list(kind.names) for name, kind in data.features.items() if hasattr(kind, "names")}


def _csv_options(file: Path, key: str) -> dict[str, Any]:
    import datasets

    with _records(file) as records:
        header: list[str] = next((record for record in records if not _blank(record)), [])
        first = next((record for record in records if not _blank(record)), None)
    repeated = sorted({name for name in header if name and header.count(name) > 1})
    if repeated:
        raise DataError(
            f"{key}: {file}, line 1: the header names {repeated[0]!r} more than once",
            "give every column a name of its own",
        )
    if first is not None and len(first) > len(header):
        # pandas would take the first column for an index and shift all others
        raise DataError(
            f"{_place(file, 0)} has {len(first)} values where the header has {len(header)} columns",
            "quote values that contain the separator, or name every column in the header",
        )
    # pandas' own name for a column without one, such as an index that was saved along
    names = [name or f"Unnamed: {number}" for number, name in enumerate(header)]
    return {
        "sep": _separator(file),
        "quoting": _quoting(file),
        "encoding": "utf-8-sig",
        # 'null', 'NA' and 'nan' are words; only nothing is nothing
        "keep_default_na": False,
        "na_values": [""],
        "features": datasets.Features({name: datasets.Value("string") for name in names}),
    }


def _separator(file: Path) -> str:
    return "\t" if file.suffix.lower() == ".tsv" else ","


def _quoting(file: Path) -> Literal[0, 3]:
    return csv.QUOTE_NONE if file.suffix.lower() == ".tsv" else csv.QUOTE_MINIMAL


@contextlib.contextmanager
def _records(file: Path) -> Iterator[Any]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        yield csv.reader(stream, delimiter=_separator(file), quoting=_quoting(file))


def _blank(record: list[str]) -> bool:
    return not record or (len(record) == 1 and not record[0].strip())


def _is_empty(file: Path) -> bool:
    """Whether there is no example: no byte, only blanks, only a header, an empty array, no row."""
    if file.stat().st_size == 0:
        return True
    if file.suffix.lower() == ".parquet":
        import pyarrow.parquet

        return bool(pyarrow.parquet.read_metadata(file).num_rows == 0)
    if _BUILDERS[file.suffix.lower()] == "csv":
        with _records(file) as records:
            return sum(1 for record in itertools.islice(itertools.filterfalse(_blank, records), 2)) < 2
    with file.open("rb") as stream:
        content = b"".join(itertools.islice(filter(None, map(bytes.strip, stream)), 2))
    return content.removeprefix(codecs.BOM_UTF8).replace(b" ", b"") in (b"", b"[]")


def _place(file: Path, row: int) -> str:
    """Where row ``row`` (from 0) stands; found by reading the file again, as only messages need it."""
    try:
        line = _line_of(file, row)
    except (OSError, UnicodeDecodeError, csv.Error):
        line = None
    return f"{file}, line {line}" if line else f"{file}, row {row + 1}"


def _line_of(file: Path, row: int) -> int | None:
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        return None
    if _BUILDERS[suffix] == "csv":
        with _records(file) as records:
            seen, start = -2, 1  # the header is record -1
            for record in records:
                seen += not _blank(record)
                if seen == row:
                    return start
                start = records.line_num + 1
        return None
    with file.open(encoding="utf-8-sig") as stream:
        seen = -1
        for number, line in enumerate(stream, start=1):
            if seen == -1 and line.lstrip().startswith("["):
                return None  # one array, not one object a line
            seen += bool(line.strip())
            if seen == row:
                return number
    return None


def _unreadable(file: Path, key: str, error: BaseException) -> NoReturn:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, UnicodeError):
        raise DataError(f"{key}: {file} is not UTF-8 text: {_line(cause)}", "save it as UTF-8") from error
    if isinstance(cause, OSError) and cause.errno is not None:
        raise DataError(f"{key}: {file} cannot be read: {_line(cause)}", "check its permissions") from error
    kind = file.suffix.lower().lstrip(".")
    place = _bad_json_line(file) if _BUILDERS[file.suffix.lower()] == "json" else None
    raise DataError(
        f"{key}: {file}{place or ''} is not a readable {kind} file: {_line(cause)}",
        "mend or rewrite the file"
        + (", e.g. close every quotation mark and quote values with commas" if kind == "csv" else ""),
    ) from error


def _bad_json_line(file: Path) -> str | None:
    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        for number, line in enumerate(stream, start=1):
            if number == 1 and line.lstrip().startswith("["):
                return None
            if line.strip():
                try:
                    json.loads(line)
                except ValueError:
                    return f", line {number},"
    return None


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]


def _known() -> str:
    return ", ".join(_BUILDERS)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the progress bars and error logs of ``datasets`` back: errors become one message here."""
    import datasets
    from datasets.utils import logging

    bars, verbosity = datasets.are_progress_bars_disabled(), logging.get_verbosity()
    datasets.disable_progress_bars()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if not bars:
            datasets.enable_progress_bars()
