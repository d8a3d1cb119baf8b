"""Batches on their way through a model: examples that wait, leave and are put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .backends.base import Backend

Example = Mapping[str, Sequence[int]]
MASK = "attention_mask"


@dataclass(frozen=True)
class Answer:
    """What the model says of one example.

    Attributes:
        logits: float32 ``[C]``, of the exit it took.
        exit_layer: layer (from 1) at which it left.
    """

    logits: NDArray[np.float32]
    exit_layer: int


@dataclass
class Batch:
    """Examples that have passed the same exits.

    Attributes:
        depth: how many graphs they have passed.
        keys: whose each row is.
        mask: int64 ``[B, T]``.
        alive: rows that have not left, bool ``[B]``.
        inputs: before the first graph, int64 ``[B, T]`` each; the mask is among them.
        hidden: after a graph, the backend's hidden states of all rows.
        history: logits of the exits passed, ``[B, C]`` each.
        certainty: of these exits, ``[B]`` each, where the model says it.
        since: the run after which it began to wait.
        wasted: seconds that went into rows that had left.
        notes: what the backend keeps for these rows and this length.
    """

    depth: int
    keys: list[Any]
    mask: NDArray[np.int64]
    alive: NDArray[np.bool_]
    inputs: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    hidden: Any = None
    history: list[NDArray[np.float32]] = field(default_factory=list)
    certainty: list[NDArray[np.float32]] = field(default_factory=list)
    since: int = 0
    wasted: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows, those that have left included."""
        return len(self.keys)

    @property
    def left(self) -> int:
        """Rows that have not left."""
        return int(self.alive.sum())

    @property
    def tokens(self) -> int:
        """Length of the padded rows."""
        return self.mask.shape[1]

    def longest(self) -> int:
        """Tokens of the longest row that has not left."""
        return int(self.mask[self.alive].sum(axis=1).max())


def padded(
    examples: Sequence[tuple[Any, Example]],
    names: Sequence[str],
    padding: Mapping[str, int],
    longest: int | None = None,
) -> Batch:
    """Examples side by side, padded on the right to a length of :func:`rounded`.

    Args:
        examples: keys, and for each input the ids of one text, without padding.
        names: of the inputs, in the order of the graph's.
        padding: what an input is filled up with.
        longest: tokens that the model takes.
    """
    most = max(len(example["input_ids"]) for _, example in examples)
    tokens = max(most, min(rounded(most), longest or rounded(most)))
    inputs = {name: np.full((len(examples), tokens), padding.get(name, 0), dtype=np.int64) for name in names}
    for row, (_, example) in enumerate(examples):
        length = len(example["input_ids"])
        for name, values in inputs.items():
            values[row, :length] = example.get(name, int(name == MASK))
    alive = np.ones(len(examples), dtype=bool)
    return Batch(0, [key for key, _ in examples], inputs[MASK], alive, inputs=inputs)


def rounded(length: int) -> int:
    """The next length that batches are padded to: so there are few shapes, and at most an eighth is padding.

    Multiples of 8 up to 64, of 16 up to 128, and so on.
    """
    step = 8
    while length > 8 * step:
        step *= 2
    return -(-length // step) * step


def joined(backend: Backend, batches: Sequence[Batch]) -> Batch:
    """The rows of several batches of one depth that have not left, in one batch."""
    first = batches[0]
    most = max(batch.longest() for batch in batches)
    tokens = max(most, min(rounded(most), *(batch.tokens for batch in batches)))
    rows = [np.flatnonzero(batch.alive) for batch in batches]
    mask = np.zeros((sum(len(r) for r in rows), tokens), dtype=np.int64)
    start = 0
    for batch, kept in zip(batches, rows, strict=True):
        width = min(tokens, batch.tokens)
        mask[start : start + len(kept), :width] = batch.mask[kept, :width]
        start += len(kept)
    return Batch(
        first.depth,
        [batch.keys[row] for batch, kept in zip(batches, rows, strict=True) for row in kept],
        mask,
        np.ones(len(mask), dtype=bool),
        hidden=backend.gather([(b.hidden, kept) for b, kept in zip(batches, rows, strict=True)], tokens),
        history=_columns([b.history for b in batches], rows),
        certainty=_columns([b.certainty for b in batches], rows),
    )


def _columns(
    every: Sequence[Sequence[NDArray[np.float32]]], rows: Sequence[NDArray[np.intp]]
) -> list[NDArray[np.float32]]:
    exits = len(every[0])
    return [
        np.concatenate([one[k][kept] for one, kept in zip(every, rows, strict=True)]) for k in range(exits)
    ]
