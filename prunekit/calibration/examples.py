"""Which examples of a file a model may be calibrated on: each once, and none that it was trained on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..errors import DataError

if TYPE_CHECKING:
    import datasets

    from ..data import TaskData

logger = logging.getLogger(__name__)

_NO_GUARANTEE = "so this is not the guarantee it would be on examples that nothing has seen."
# Said where the calibration examples were not held out for nothing else.
CHOSE_CHECKPOINTS = f"The same examples chose the model's checkpoints, {_NO_GUARANTEE}"
UNKNOWN = (
    "Whether the model was trained on some of these examples could not be checked; if it was, this is no "
    "guarantee."
)


def usable(examples: datasets.Dataset, file: str, used: TaskData | None) -> tuple[datasets.Dataset, str]:
    """The examples of a file that show something of a model, and what keeps them from being untouched.

    A second copy of an example shows nothing new, and an example that was trained on shows nothing at all:
    both are left out, with a warning.

    Args:
        examples: columns as in :class:`~prunekit.data.TaskData`.
        file: their file, for messages.
        used: what made the model, where that is known.

    Raises:
        DataError: most of them were trained on.
    """
    from ..data import texts_of

    rows = _distinct(examples)
    if len(rows) < len(examples):
        logger.warning(
            "%s: %d of %d examples repeat another and are left out: each counts once",
            file, len(examples) - len(rows), len(examples),
        )  # fmt: skip
        examples = examples.select(rows)
    if used is None:
        return examples, ""
    texts, trained = texts_of(examples), set(texts_of(used.train))
    rows = [row for row, text in enumerate(texts) if text not in trained]
    known = len(texts) - len(rows)
    if 2 * known > len(texts):
        raise DataError(
            f"--data: {known:,} of the {len(texts):,} distinct examples of {file} are among those that the "
            "model was trained on: there leaving early loses next to nothing, and any policy would look safe",
            "give examples that it has not seen, or leave --data out: a run takes those it held out",
        )
    if known:
        logger.warning(
            "%s: %d examples that the model was trained on are left out; %d are left", file, known, len(rows)
        )
        examples = examples.select(rows)
    return examples, _reservation([texts[row] for row in rows], used)


def _distinct(examples: datasets.Dataset) -> list[int]:
    """Row of the first of every text, or pair of texts, with its label."""
    from ..data import texts_of

    first: dict[tuple[object, ...], int] = {}
    for row, example in enumerate(zip(texts_of(examples), examples["label"], strict=True)):
        first.setdefault(example, row)
    return list(first.values())


def _reservation(texts: list[tuple[str, ...]], used: TaskData) -> str:
    from ..data import texts_of

    validation, test = (
        sum(text in others for text in texts)
        for others in (set(texts_of(used.validation)), set(texts_of(used.test)))
    )
    words = []
    if validation == len(texts):
        words.append(CHOSE_CHECKPOINTS)
    elif validation:
        words.append(f"{validation:,} of them chose the model's checkpoints, {_NO_GUARANTEE}")
    if test:
        many = "All" if test == len(texts) else f"{test:,}"
        words.append(
            f"{many} of them are test examples of the model's report, whose figures are no longer "
            "independent of this policy."
        )
    return " ".join(words)


def warn_of_missing_classes(labels: Iterable[int], names: Sequence[str]) -> None:
    """Say which classes of the model no example has."""
    there = {int(label) for label in labels}
    missing = [name for number, name in enumerate(names) if number not in there]
    if missing:
        logger.warning(
            "no calibration example has the label %s: the guarantee says nothing of inputs of %s",
            ", ".join(missing[:20]), "this class" if len(missing) == 1 else "these classes",
        )  # fmt: skip
