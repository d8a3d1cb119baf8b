"""Sizes said outright."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ..arguments import whole
from ..errors import BudgetError
from ..groups import Group
from . import register
from .base import Budget, by_granularity, on_the_way, where


@register("sizes")
class Sizes(Budget):
    """Explicit sizes: one number for every layer, or a list with one a layer.

    COST-EFF 8x is ``Sizes(heads=2, neurons=256, rank=128)``; in a recipe
    ``{name: sizes, heads: 2, neurons: 256, rank: 128}``. Granularities that are not named stay whole.

    Args:
        sizes: granularity name -> units to keep, or a list with one number for each of its groups.
    """

    def __init__(self, **sizes: int | Sequence[int]) -> None:
        if not sizes:
            raise BudgetError(
                "the budget 'sizes' names no granularity", "e.g. {name: sizes, heads: 2, neurons: 256}"
            )
        for name, target in sizes.items():
            _check(name, target)
        self.targets = sizes

    def check(self, model: nn.Module, groups: Sequence[Group]) -> None:
        """Raise ``BudgetError`` for a size below 1 or above the model's, a wrong list or an unknown name."""
        self._final(groups)

    def sizes(
        self,
        model: nn.Module,
        groups: Sequence[Group],
        fraction: float = 1.0,
        scores: Mapping[str, Tensor] | None = None,
    ) -> dict[str, int]:
        """As in :class:`Budget`; linear in ``fraction``, no scores needed."""
        final = self._final(groups)
        return {g.name: on_the_way(g, final.get(g.name, g.initial_size), fraction) for g in groups}

    def _final(self, groups: Sequence[Group]) -> dict[str, int]:
        found = by_granularity(groups, list(self.targets))
        final: dict[str, int] = {}
        for name, members in found.items():
            for group, size in zip(members, _one_each(name, self.targets[name], members), strict=True):
                if not 1 <= size <= group.initial_size:
                    raise BudgetError(
                        f"sizes.{name}: {where(group)} cannot keep {size}",
                        f"a size from 1 to {group.initial_size} was expected",
                    )
                final[group.name] = size
        return final


def _check(name: str, target: object) -> None:
    if not isinstance(target, int | list | tuple):
        raise BudgetError(f"sizes.{name}: {target!r} is neither a whole number nor a list of them")
    for size in [target] if isinstance(target, int) else target:
        whole(size, f"sizes.{name}", error=BudgetError)


def _one_each(name: str, target: int | Sequence[int], members: Sequence[Group]) -> Sequence[int]:
    if isinstance(target, int):
        return [target] * len(members)
    if len(target) != len(members):
        raise BudgetError(
            f"sizes.{name}: the list has {len(target)} sizes, but there are {len(members)} groups of {name}",
            "one number for each, first layer to last, or a single number for all",
        )
    return target
