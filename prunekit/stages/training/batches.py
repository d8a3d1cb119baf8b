"""Rows of a split in memory, and the order in which an epoch takes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

Integers = npt.NDArray[np.int64]
# Batches whose examples are sorted together: enough to sort well, few enough to mix.
POOL = 50


class Rows(Dataset[dict[str, Tensor]]):
    """An encoded split as flat tensors, whose rows are views.

    Arrow's own row access takes longer than a small model's training step.
    """

    def __init__(self, split: Any) -> None:
        table = split.with_format("arrow")[:]
        self._size = len(split)
        self._scalars: dict[str, Tensor] = {}
        self._lists: dict[str, list[Tensor]] = {}
        for name in table.column_names:
            column = table.column(name).combine_chunks()
            if hasattr(column, "value_lengths"):
                lengths = column.value_lengths().to_numpy(zero_copy_only=False).tolist()
                flat = torch.tensor(column.flatten().to_numpy(zero_copy_only=False), dtype=torch.int64)
                self._lists[name] = list(flat.split(lengths))
            else:
                self._scalars[name] = torch.tensor(column.to_numpy(zero_copy_only=False), dtype=torch.int64)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        lists = {name: rows[row] for name, rows in self._lists.items()}
        return lists | {name: rows[row] for name, rows in self._scalars.items()}


class EpochSampler(Sampler[int]):
    """A random order of the rows that depends on the seed and the epoch alone.

    Args:
        lengths: tokens of each row, ``[N * parts]``.
        batch_size: rows that meet in a batch.
        seed: of the orders.
        grouped: rows of a batch have similar lengths, which spares padding; which rows meet, and the order
            of the batches, stay random.
        parts: epochs that take every row once; each takes ``N`` of them.
    """

    def __init__(self, lengths: Integers, batch_size: int, seed: int, grouped: bool, parts: int = 1) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.grouped = grouped
        self.parts = parts
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths) // self.parts

    def __iter__(self) -> Iterator[int]:
        return iter(self.order(self.epoch).tolist())

    def set_epoch(self, epoch: int) -> None:
        """Take this epoch's order from now on."""
        self.epoch = epoch

    def order(self, epoch: int) -> Integers:
        """Rows in the order of an epoch, int64 ``[N]``."""
        turn, part = divmod(epoch, self.parts)
        draw = np.random.default_rng((self.seed, turn))
        order: Integers = draw.permutation(len(self.lengths))[part :: self.parts]
        if not self.grouped:
            return order
        pool = self.batch_size * POOL
        # Stable, so that rows of equal length keep their random order.
        order = np.concatenate(
            [
                p[np.argsort(self.lengths[p], kind="stable")]
                for p in np.split(order, range(pool, len(order), pool))
            ]
        )
        whole = len(order) - len(order) % self.batch_size
        batches = order[:whole].reshape(-1, self.batch_size)
        # A last batch that is not full stays last, or the batches behind it would shift.
        return np.concatenate([batches[draw.permutation(len(batches))].ravel(), order[whole:]])


def padded_tokens(lengths: Integers, order: Integers, batch_size: int) -> int:
    """Tokens, padding included, of an epoch's batches."""
    taken = lengths[order]
    batches = np.split(taken, range(batch_size, len(taken), batch_size))
    return int(sum(int(batch.max()) * len(batch) for batch in batches if len(batch)))


def epoch_sampler(
    lengths: Integers, batch_size: int, seed: int, grouping: Literal["auto", "on", "off"], parts: int = 1
) -> EpochSampler:
    """The sampler of a training run; ``"auto"`` groups by length where that spares a tenth of the tokens."""
    grouped = EpochSampler(lengths, batch_size, seed, True, parts)
    if grouping == "on":
        return grouped
    plain = EpochSampler(lengths, batch_size, seed, False, parts)
    if grouping == "off":
        return plain
    saved = padded_tokens(lengths, grouped.order(0), batch_size) / padded_tokens(
        lengths, plain.order(0), batch_size
    )
    return grouped if saved <= 0.9 else plain
