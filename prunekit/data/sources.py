"""Reading examples from files and from the Hugging Face hub."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from ..errors import DataError
from ..text import shown
from .arrow import read_dataset, read_parquet
from .delimited import read_delimited
from .json_rows import read_json
from .opening import check_file, content_of, text_of
from .tables import Table

TABLE_KINDS = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
_KNOWN = ", ".join(TABLE_KINDS)
# An archive shows itself within so many bytes.
_BEGINNING = 512


def read_file(path: str, key: str) -> Table:
    """Read a csv, tsv, json, jsonl or parquet file.

    It is read as what its name says, or refused: no archive is unpacked, no path or link in it is followed,
    and nothing is written beside it. Texts are UTF-8. Details: :mod:`~prunekit.data.delimited`,
    :mod:`~prunekit.data.json_rows`, :mod:`~prunekit.data.arrow`.

    Args:
        path: the file.
        key: the recipe's key that named it, for messages.

    Raises:
        DataError: the file is missing, empty, of an unknown kind or cannot be parsed.
    """
    name, suffix = shown(path, keep=""), Path(path).suffix.lower()
    check_file(path, key, f"give {key} the path of a {_KNOWN} file")
    if suffix not in TABLE_KINDS:
        raise DataError(
            f"{key}: {name} has the unknown extension {suffix or '(none)'!r}", f"expected one of {_KNOWN}"
        )
    content = content_of(path, key, _BEGINNING if suffix == ".parquet" else -1)
    if not content:
        raise _no_examples(f"{key}: {name}", "it is empty")
    if suffix == ".parquet":
        table = read_parquet(path, name, key)
    else:
        text = text_of(content, f"{key}: {name}")
        if not text.strip():
            raise _no_examples(f"{key}: {name}", "it is empty but for blanks")
        read = read_delimited if suffix in (".csv", ".tsv") else read_json
        table = read(text, name, key, suffix[1:])
    if not len(table):
        raise _no_examples(f"{key}: {name}", "it has no rows")
    return table


def _no_examples(place: str, reason: str) -> DataError:
    return DataError(f"{place} holds no examples: {reason}", "give a file with examples")


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
    files = "give local files: data.train_file=... data.test_file=..."
    if "\0" in name or Path(name).exists():
        raise DataError(f"{what}: this is a path here, not the name of a dataset on the hub", files)
    try:
        with _quiet():
            loaded = datasets.load_dataset(name, config)
    except (ConnectionError, TimeoutError) as error:
        raise DataError(
            f"no network for {what}: {_line(error)}", f"{files}, or connect and run again"
        ) from error
    except Exception as error:  # datasets, huggingface_hub and the builders each raise their own
        raise DataError(
            f"{what} cannot be read: {type(error).__name__}: {_line(error)}",
            f"check the name and data.hub_config, or {files}",
        ) from error
    tables = {}
    for ours, theirs in splits.items():
        if theirs in loaded:
            tables[ours] = read_dataset(loaded[theirs], f"{what}, split {theirs!r}")
        elif ours not in optional:
            raise DataError(
                f"{what} has no split {theirs!r} for {ours}; it has {', '.join(map(str, loaded))}",
                f"name the split: data.hub_splits.{ours}=...",
            )
    return tables


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]


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
