"""The contract of a budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ..groups import Group


class Budget(ABC):
    """Turns a target, and scores, into what every group keeps."""

    @abstractmethod
    def check(self, model: nn.Module, groups: Sequence[Group]) -> None:
        """Raise ``BudgetError`` if the target cannot be met by these groups, before any compute."""

    @abstractmethod
    def sizes(
        self,
        model: nn.Module,
        groups: Sequence[Group],
        fraction: float = 1.0,
        scores: Mapping[str, Tensor] | None = None,
    ) -> dict[str, int]:
        """Units each group keeps when ``fraction`` of the way is done: name -> 1..group.size."""

    @abstractmethod
    def keep(
        self,
        model: nn.Module,
        groups: Sequence[Group],
        scores: Mapping[str, Tensor],
        fraction: float = 1.0,
    ) -> dict[str, Tensor]:
        """Units each group keeps: name -> ascending int64 positions."""
