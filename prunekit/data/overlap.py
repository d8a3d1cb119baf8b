"""Whether the parts of a task are apart: one file for two of them, or the same texts in two."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError
from ..text import shown

if TYPE_CHECKING:
    import datasets

    from .tasks import TaskData

logger = logging.getLogger(__name__)

Text = tuple[str, ...]

_WHY = {
    "train": "what learns its examples by heart wins every choice of checkpoints and thresholds",
    "test": "its examples choose checkpoints and thresholds, so the scores reported on them are too good",
}


def texts_of(data: datasets.Dataset) -> list[Text]:
    """The text, or the pair of texts, of every example."""
    names = [name for name in ("text", "text_pair") if name in data.column_names]
    return list(zip(*(data[name] for name in names), strict=True))


def check_files(files: Mapping[str, str]) -> None:
    """Refuse validation examples from the file that is trained on or reported.

    Training and reporting on one file is warned of: it is of use for trying things out.

    Args:
        files: split -> its file; two paths to one file, and two names of it, count as the same. A file that
            cannot be found is passed over: reading it will say so.

    Raises:
        DataError: naming both keys.
    """
    found = {split: _identity(file) for split, file in files.items()}
    shown_as: dict[tuple[int, int], str] = {}
    places = {
        split: shown_as.setdefault(identity, shown(files[split], keep=""))
        for split, identity in found.items()
        if identity is not None
    }
    _check(places, {split: f"data.{split}_file" for split in files}, "file")


def _identity(file: str) -> tuple[int, int] | None:
    try:
        status = Path(file).stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def check_hub_splits(splits: Mapping[str, str]) -> None:
    """:func:`check_files` of the hub's splits: ours -> theirs."""
    _check(splits, {split: f"data.hub_splits.{split}" for split in splits}, "split")


def _check(places: Mapping[str, str], keys: Mapping[str, str], kind: str) -> None:
    validation = places.get("validation")
    for other in ("train", "test"):
        if validation is not None and validation == places.get(other):
            raise DataError(
                f"{keys['validation']} and {keys[other]} are the same {kind}, {validation}: {_WHY[other]}",
                f"give {keys['validation']} a {kind} of its own; without one, validation examples are held "
                "out of the training data",
            )
    if "test" in places and places["test"] == places.get("train"):
        logger.warning(
            "%s and %s are the same %s, %s: scores on examples that were trained on say little. Give test "
            "examples of their own, or hold them out: data.test_fraction=0.1 in place of a test %s",
            keys["train"], keys["test"], kind, places["test"], kind,
        )  # fmt: skip


def warn_of_overlap(task: TaskData, own_validation: bool) -> None:
    """Say how many texts of one part are in another that must not have seen them.

    Args:
        own_validation: whether validation examples come from a source of their own. Held out of the training
            data they may share texts that are there twice, which is the data's own doing.
    """
    test, validation, train = (texts_of(data) for data in (task.test, task.validation, task.train))
    _warn(task.name, "test", test, set(train), "in its training data: scores on them say little")
    _warn(
        task.name, "test", test, set(validation),
        "among its validation examples, which choose checkpoints and thresholds: scores on them are too good",
    )  # fmt: skip
    if own_validation:
        _warn(
            task.name, "validation", validation, set(train),
            "in its training data: what learns them by heart wins the choice of checkpoints and thresholds",
        )  # fmt: skip


def _warn(name: str, split: str, texts: list[Text], others: set[Text], why: str) -> None:
    shared = sum(text in others for text in texts)
    if shared:
        logger.warning("%d of %d %s examples of %s are also %s", shared, len(texts), split, name, why)
