"""The same share of every group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ..errors import BudgetError
from ..groups import Group
from . import register
from .base import Budget, by_granularity, on_the_way


@register("ratio")
class Ratio(Budget):
    """The same share of every group: ``keep`` of its initial units, rounded half up, at least one.

    Args:
        keep: share in (0, 1], or granularity name -> share; what is not named stays whole.
    """

    def __init__(self, keep: float | Mapping[str, float]) -> None:
        self.shares = keep
        if isinstance(keep, Mapping) and not keep:
            raise BudgetError("ratio.keep: it names no granularity", "e.g. {heads: 0.5, neurons: 0.25}")
        for key, share in _items(keep):
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
                raise BudgetError(
                    f"ratio.{key}: {share!r} is not a share to keep", "a number above 0, at most 1"
                )

    def check(self, model: nn.Module, groups: Sequence[Group]) -> None:
        """Raise ``BudgetError`` for a granularity that is not there."""
        if isinstance(self.shares, Mapping):
            by_granularity(groups, list(self.shares))

    def sizes(
        self,
        model: nn.Module,
        groups: Sequence[Group],
        fraction: float = 1.0,
        scores: Mapping[str, Tensor] | None = None,
    ) -> dict[str, int]:
        """As in :class:`Budget`; linear in ``fraction``, no scores needed."""
        self.check(model, groups)
        return {g.name: on_the_way(g, self._final(g), fraction) for g in groups}

    def _final(self, group: Group) -> int:
        shares = self.shares
        share = shares.get(group.granularity, 1.0) if isinstance(shares, Mapping) else shares
        return max(1, math.floor(share * group.initial_size + 0.5))


def _items(keep: float | Mapping[str, float]) -> list[tuple[str, float]]:
    if isinstance(keep, Mapping):
        return [(f"keep.{name}", share) for name, share in keep.items()]
    return [("keep", keep)]
