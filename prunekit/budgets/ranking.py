"""The order in which units are given back to groups that were cut to their least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from ..groups import Group
from .base import importance

# A unit is named by its group: within a group the order of units is settled.
Unit = str
Normalize = Literal["sum", "mean", "l2", "none"]


def uniform_order(groups: Sequence[Group], low: Mapping[str, int]) -> list[Unit]:
    """Units by the share of their group that is kept once they are: all groups grow alike.

    Args:
        low: name -> units that are kept whatever comes; the order holds the others, up to the present size.
    """
    keyed = [
        (count / group.initial_size, position, group.name)
        for position, group in enumerate(groups)
        for count in range(low[group.name] + 1, group.size + 1)
    ]
    return [name for _, _, name in sorted(keyed)]


def removal_order(
    groups: Sequence[Group],
    low: Mapping[str, int],
    unit_cost: Mapping[str, float],
    scores: Mapping[str, Tensor] | None,
    normalize: Normalize,
) -> list[Unit]:
    """Units by normalised importance per cost, most valuable first: what is removed first comes last."""
    keyed: list[tuple[float, int, int, str]] = []
    for position, group in enumerate(groups):
        worth = normalized(importance(group, scores), normalize) / unit_cost[group.name]
        if not group.ordered:
            worth = worth.sort(descending=True).values
        # An ordered group cannot keep a unit without those before it, so none is worth more than they are.
        worth = worth.cummin(dim=0).values
        keyed.extend(
            (-float(worth[count]), position, count, group.name)
            for count in range(low[group.name], group.size)
        )
    return [name for *_, name in sorted(keyed)]


def normalized(values: Tensor, how: Normalize) -> Tensor:
    """Importance made comparable between groups, float64; all zero where it is zero."""
    values = values.to(torch.float64).cpu()
    if how == "none":
        return values
    scale = {"sum": values.sum(), "mean": values.mean(), "l2": torch.linalg.vector_norm(values)}[how]
    return values / scale.clamp_min(torch.finfo(torch.float64).tiny)
