"""What a file's examples show of a model, and what a person should know of them."""

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
    """The examples of a file, all of them, and what keeps them from being untouched, in words.

    The guarantee is about a plain sample of what is to come. There a frequent text comes often, and one that
    comes often was trained on too: to leave out repeats, or known texts, would make it a sample of something
    else. Of a file of the training examples themselves nothing can be shown; it is refused where most of its
    distinct examples are known, and what may be left of it is said.

    Args:
        examples: columns as in :class:`~prunekit.data.TaskData`.
        file: their file, for messages.
        used: what made the model, where that is known.

    Raises:
        DataError: most of them were trained on.
    """
    from ..data import texts_of

    texts = texts_of(examples)
    distinct = set(zip(texts, examples["label"], strict=True))
    repeated = _repeated(len(texts) - len(distinct))
    if repeated:
        logger.warning("%s: %s", file, repeated)
    if used is None:
        return examples, repeated
    trained = set(texts_of(used.train))
    known = sum(text in trained for text, _ in distinct)
    if 2 * known > len(distinct):
        raise DataError(
            f"--data: {known:,} of the {len(distinct):,} distinct examples of {file} are among those that "
            "the model was trained on: there leaving early loses next to nothing, and any policy would look "
            "safe",
            "give examples that it has not seen, or leave --data out: a run takes those it held out",
        )
    return examples, " ".join(filter(None, (repeated, *_reservations(texts, trained, used))))


def _repeated(count: int) -> str:
    if not count:
        return ""
    return (
        f"{count:,} of the examples repeat{'s' * (count == 1)} another: this holds if inputs to come repeat "
        "as often, and not if examples were copied."
    )


def _reservations(texts: list[tuple[str, ...]], trained: set[tuple[str, ...]], used: TaskData) -> list[str]:
    from ..data import texts_of

    known = sum(text in trained for text in texts)
    validation, test = (
        sum(text in others for text in texts)
        for others in (set(texts_of(used.validation)), set(texts_of(used.test)))
    )
    words = []
    if known:
        words.append(
            f"{known:,} of them {'has a text' if known == 1 else 'have texts'} that the model was trained "
            "on: this holds if such texts are as frequent among the inputs to come, and not if the file "
            "holds training examples."
        )
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
    return words


def warn_of_missing_classes(labels: Iterable[int], names: Sequence[str]) -> None:
    """Say which classes of the model no example has."""
    there = {int(label) for label in labels}
    missing = [name for number, name in enumerate(names) if number not in there]
    if missing:
        logger.warning(
            "no calibration example has the label %s: the guarantee says nothing of inputs of %s",
            ", ".join(missing[:20]), "this class" if len(missing) == 1 else "these classes",
        )  # fmt: skip
