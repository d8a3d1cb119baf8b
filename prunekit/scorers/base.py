"""The contract of a scorer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..errors import TrainingError
from ..groups import Group

Batch = Mapping[str, Any]
Loss = Callable[[nn.Module, Any], Tensor]


class Scorer(ABC):
    """Gives every unit of every group its importance; larger is worth more.

    A scorer is also a torch-pruning ``Importance``: hand it to a ``MetaPruner`` as ``importance=``.

    Attributes:
        needs_data: whether :meth:`score` reads ``batches`` and ``loss``.
    """

    needs_data: bool = True

    @abstractmethod
    def score(
        self,
        model: nn.Module,
        groups: Sequence[Group],
        batches: Iterable[Any] = (),
        loss: Loss | None = None,
    ) -> dict[str, Tensor]:
        """Importance of every unit: group name -> float32 ``[group.size]`` on the CPU, all finite, >= 0.

        Groups that rank themselves (:meth:`~prunekit.groups.Group.intrinsic_importance`) give their own.

        Args:
            model: in any mode; scored in evaluation mode (dropout off) and left as it was.
            groups: the groups to score.
            batches: what ``loss`` takes, one after another.
            loss: ``loss(model, batch)`` gives a scalar, or one loss for every exit, ``[E]``.
        """

    @abstractmethod
    def __call__(self, group: Any, **kwargs: Any) -> Tensor | None:
        """torch-pruning's ``Importance``: the score of each channel of one of its groups.

        Scorers that need gradients read ``.grad`` of the group's parameters, as torch-pruning's own do.
        """


def checked(name: str, values: Tensor) -> Tensor:
    """Scores as they are.

    Args:
        name: of the group that they are of.
        values: ``[size]``.

    Raises:
        TrainingError: one is NaN or infinite; it names the group and the unit.
    """
    wrong = (~values.isfinite()).nonzero()
    if len(wrong):
        unit = int(wrong[0])
        raise TrainingError(
            f"the importance of {name} is not finite: {float(values[unit])} for unit {unit}",
            "look for weights, activations or a loss that are NaN or overflow; score in float32",
        )
    return values


def split_intrinsic(groups: Sequence[Group]) -> tuple[list[Group], dict[str, Tensor]]:
    """Groups that a scorer has to score, and the importance of those that rank themselves."""
    intrinsic = {g.name: g.intrinsic_importance() for g in groups}
    known = {
        name: checked(name, value.float().cpu()) for name, value in intrinsic.items() if value is not None
    }
    return [g for g in groups if g.name not in known], known
