"""The contract of a budget."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..errors import BudgetError
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
        """Units each group keeps when ``fraction`` of the way is done: name -> 1..group.size.

        Args:
            model: as it is now.
            groups: as they are now; the way began at their ``initial_size``.
            fraction: in [0, 1].
            scores: name -> ``[group.size]``; only budgets that rank across groups read them.

        Raises:
            BudgetError: as :meth:`check`, or scores are needed and missing.
        """

    def keep(
        self,
        model: nn.Module,
        groups: Sequence[Group],
        scores: Mapping[str, Tensor],
        fraction: float = 1.0,
    ) -> dict[str, Tensor]:
        """Units each group keeps: name -> ascending int64 positions.

        Within a group the highest scores stay; of equal ones the first. Ordered groups keep a prefix, and
        groups that keep all their units need no score.

        Raises:
            BudgetError: as :meth:`sizes`, or a score that is not finite.
        """
        check_scores(groups, scores)
        sizes = self.sizes(model, groups, fraction, scores)
        return {group.name: best(group, sizes[group.name], scores) for group in groups}


def best(group: Group, count: int, scores: Mapping[str, Tensor]) -> Tensor:
    """The ``count`` units of a group with the highest scores: ascending int64 ``[count]``."""
    if group.ordered or count == group.size:
        return torch.arange(count)
    ranked = torch.argsort(importance(group, scores), descending=True, stable=True)
    return ranked[:count].sort().values


def check_scores(groups: Sequence[Group], scores: Mapping[str, Tensor]) -> None:
    """Raise ``BudgetError`` naming the first group and unit whose score is NaN or infinite."""
    for group in groups:
        given = scores.get(group.name)
        if given is not None and not bool(given.isfinite().all()):
            unit = int((~given.isfinite()).flatten().nonzero()[0])
            raise BudgetError(
                f"scores of {group.name}: that of unit {unit} is {float(given.flatten()[unit])}, which ranks "
                "nowhere",
                "score again, by a scorer and a loss that give finite numbers",
            )


def importance(group: Group, scores: Mapping[str, Tensor] | None) -> Tensor:
    """A group's scores, or its own ranking: ``[size]``.

    Raises:
        BudgetError: there are none, not one a unit, or one that is not finite.
    """
    given = None if scores is None else scores.get(group.name)
    if given is None:
        given = group.intrinsic_importance()
    if given is None:
        raise BudgetError(f"there are no scores for {group.name}", "score the groups first")
    if given.shape != (group.size,):
        raise BudgetError(
            f"scores of {group.name} have shape {tuple(given.shape)}, but it has {group.size} units",
            "score the groups again after every step",
        )
    check_scores([group], {group.name: given})
    return given


def by_granularity(groups: Sequence[Group], names: Sequence[str]) -> dict[str, list[Group]]:
    """Groups of each named granularity, in order.

    Raises:
        BudgetError: a name that no group has.
    """
    known: dict[str, list[Group]] = {}
    for group in groups:
        known.setdefault(group.granularity, []).append(group)
    for name in names:
        if name not in known:
            raise BudgetError(
                f"the budget names {name!r}, but nothing of that granularity is pruned",
                f"granularities that are pruned: {', '.join(known) or 'none'}",
            )
    return {name: known[name] for name in names}


def on_the_way(group: Group, target: int, fraction: float) -> int:
    """Size after ``fraction`` of the way from the initial size to ``target``; never above the present size.

    What is removed is rounded, half up, so that ten steps that remove ten heads remove one each.
    """
    removed = math.floor((group.initial_size - target) * fraction + 0.5)
    return min(group.size, group.initial_size - removed)


def where(group: Group) -> str:
    """How a message names a group."""
    return f"{group.name} ({group.granularity}, {group.initial_size} units)"
