"""The embedded task: short reviews in English, positive or negative, of graded difficulty.

A grammar writes the sentences, so the task needs no download, and every label follows from rules that a
reader agrees with:

- *single*: one clause; its judging word decides ("The soup was delicious.").
- *negation*: a negation turns a clause around, also from outside of it ("Nobody could call the soup
  bland."); two negations cancel out ("Nobody can deny that ..."), and "not only" denies nothing.
- *contrast*: of two clauses the one after "but", "yet" or "however" decides, and the one without
  "although", "though" or "while".
- *concession*: several concessions, or one inside another; the main clause decides ("Although the room,
  which had seemed clean at first, turned out to be dirty, I enjoyed the trip.").
- *distractor*: other people's opinions, other things, the past, what was expected and what would have been
  do not count, what is said of the thing here and now does; facts judge nothing.

Words are drawn alike for both labels, and every kind of difficulty has as many positive as negative
examples, so that only in single clauses a word tells the label.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import DataError
from .reviews_clauses import Writer
from .reviews_grammar import KINDS

LABEL_NAMES = ("negative", "positive")
SIZES = {"train": 9_000, "validation": 1_500, "test": 2_000}

# share of each kind, in twentieths
_SHARES = {"single": 8, "negation": 4, "contrast": 3, "concession": 2, "distractor": 3}
# drawing a sentence that no earlier example has fails this often in a row only where the grammar is exhausted
_PATIENCE = 1_000


@dataclass(frozen=True)
class Review:
    """One example: ``label`` is a position in :data:`LABEL_NAMES`, ``difficulty`` a key of ``KINDS``."""

    text: str
    label: int
    difficulty: str


def generate(seed: int, sizes: Mapping[str, int] = SIZES) -> dict[str, list[Review]]:
    """Write the examples of every split.

    The same seed gives the same examples in every Python version. No sentence comes twice, within a split
    or across splits. Test and validation come first, so that they do not depend on the size of train;
    calibration examples, where they are asked for, come next.

    Args:
        seed: what to draw from.
        sizes: split -> number of examples.

    Raises:
        DataError: more sentences are asked for than the grammar can tell apart.
    """
    seen: set[str] = set()
    order = sorted(sizes, key=lambda split: ("test", "validation", "calibration", "train").index(split))
    rng = random.Random(seed)
    splits = {split: _split(rng, sizes[split], seen) for split in order}
    return {split: splits[split] for split in sizes}


def _split(rng: random.Random, size: int, seen: set[str]) -> list[Review]:
    pattern = [kind for kind, share in _SHARES.items() for _ in range(share)]
    counts = dict.fromkeys(_SHARES, 0)
    examples = []
    for number in range(size):
        kind = pattern[number % len(pattern)]
        label = counts[kind] % 2  # in turn: balanced within every kind
        counts[kind] += 1
        examples.append(_review(rng, kind, label, seen))
    return _shuffled(rng, examples)


def _review(rng: random.Random, kind: str, label: int, seen: set[str]) -> Review:
    for _ in range(_PATIENCE):
        text = _sentence(KINDS[kind](Writer(rng), bool(label)))
        if text.lower() not in seen:
            seen.add(text.lower())
            return Review(text, label, kind)
    raise DataError(
        f"the grammar has no more {kind} sentences than the {len(seen)} examples written so far",
        "lower data.train_size",
    )


def _sentence(text: str) -> str:
    return ". ".join(part[0].upper() + part[1:] for part in text.split(". ")) + "."


def _shuffled(rng: random.Random, examples: list[Review]) -> list[Review]:
    """Fisher-Yates by ``random()`` alone: ``Random.shuffle`` may change between Python versions."""
    result = list(examples)
    for last in range(len(result) - 1, 0, -1):
        other = int(rng.random() * (last + 1))
        result[last], result[other] = result[other], result[last]
    return result
