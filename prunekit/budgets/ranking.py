"""The order in which units are given back to groups that were cut to their least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, get_args

import torch
from torch import Tensor

from ..groups import Group
from .base import importance

Normalize = Literal["sum", "mean", "l2", "none"]
NORMALIZE: tuple[str, ...] = get_args(Normalize)


@dataclass(frozen=True)
class Ladder:
    """The sizes a group may end with: each has one unit more than the one before, and costs more.

    Where the group lies in one matrix now, sizes that would cost as much in two, or more, are left out:
    the last rung then leads over them to the whole.

    Attributes:
        group: whose they are.
        sizes: ascending, the least first, the present one last.
        prices: cost of each rung, from ``sizes[i]`` to ``sizes[i + 1]``, at the present sizes of the others.
    """

    group: Group
    sizes: Sequence[int]
    prices: Sequence[float]


# A rung taken: a group's name, and the size it then has.
Rung = tuple[str, int]


def uniform_order(ladders: Sequence[Ladder]) -> list[Rung]:
    """Rungs by the share of their group that is kept once they are taken: all groups grow alike.

    Shares are rounded to whole units, in every layer at another point, or all layers would gain their next
    head at once: of L groups of a kind the i-th (from 0) rounds up from a remainder of ``(i + 1/2) / L``.
    """
    kinds: dict[str, list[str]] = {}
    for ladder in ladders:
        kinds.setdefault(ladder.group.granularity, []).append(ladder.group.name)
    keyed = []
    for position, ladder in enumerate(ladders):
        group, kind = ladder.group, kinds[ladder.group.granularity]
        shift = (kind.index(group.name) + 0.5) / len(kind)
        keyed += [
            ((before + shift) / group.initial_size, position, size)
            for before, size in zip(ladder.sizes, ladder.sizes[1:], strict=False)
        ]
    return [(ladders[position].group.name, size) for _, position, size in sorted(keyed)]


def removal_order(
    ladders: Sequence[Ladder], scores: Mapping[str, Tensor] | None, normalize: Normalize
) -> list[Rung]:
    """Rungs by normalised importance per cost, most valuable first: what is removed first comes last."""
    keyed: list[tuple[float, int, int]] = []
    for position, ladder in enumerate(ladders):
        if len(ladder.sizes) == 1:
            continue
        worth = normalized(importance(ladder.group, scores), normalize)
        if not ladder.group.ordered:
            worth = worth.sort(descending=True).values
        values = worth.tolist()
        rungs = zip(ladder.sizes, ladder.sizes[1:], ladder.prices, strict=False)
        each = [sum(values[before:size]) / price for before, size, price in rungs]
        # A group cannot climb a rung without those below it, so none is worth more than they are.
        keyed += [
            (-value, position, size)
            for value, size in zip(accumulate(each, min), ladder.sizes[1:], strict=True)
        ]
    return [(ladders[position].group.name, size) for _, position, size in sorted(keyed)]


def normalized(values: Tensor, how: Normalize) -> Tensor:
    """Importance made comparable between groups, float64; all zero where it is zero."""
    values = values.to(torch.float64).cpu()
    if how == "none":
        return values
    scale = {"sum": values.sum(), "mean": values.mean(), "l2": torch.linalg.vector_norm(values)}[how]
    return values / scale.clamp_min(torch.finfo(torch.float64).tiny)
