"""What all scorers that differentiate a loss share."""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from torch import Tensor, nn

from ..arguments import flag, one_of
from ..dependency_graph import Piece
from ..errors import TrainingError, UnsupportedModelError
from ..groups import Group
from .base import Loss, Scorer, checked, split_intrinsic

_WORD = re.compile(r"(?<!^)(?=[A-Z])")


class GradientScorer(Scorer):
    """Reads data: sums what a subclass makes of each batch's backward pass.

    Args:
        exits: where the loss gives one value for every exit, ``"last"`` takes the last exit's and ``"all"``
            their sum. A scalar is taken as it is.
        gradient_equilibrium: balance the exits' gradients by COST-EFF's Eq. 3 while scoring; ``None``: as
            the model has it switched now.
    """

    def __init__(
        self, exits: Literal["last", "all"] = "last", gradient_equilibrium: bool | None = False
    ) -> None:
        one_of(exits, self._place("exits"), ("last", "all"))
        if gradient_equilibrium is not None:
            flag(gradient_equilibrium, self._place("gradient_equilibrium"))
        self.exits = exits
        self.gradient_equilibrium = gradient_equilibrium

    def _place(self, argument: str) -> str:
        """How messages name an argument: ``TaylorExample``'s ``exits`` is ``taylor_example.exits``."""
        return f"{_WORD.sub('_', type(self).__name__).lower()}.{argument}"

    def score(
        self,
        model: nn.Module,
        groups: Sequence[Group],
        batches: Iterable[Any] = (),
        loss: Loss | None = None,
    ) -> dict[str, Tensor]:
        """As in :class:`Scorer`.

        Raises:
            TrainingError: no batch, no loss, a loss that is not finite or does not depend on the units, or
                an importance that is not finite.
            UnsupportedModelError: a group without a gate, or exits asked of a model that has none.
        """
        rest, scores = split_intrinsic(groups)
        if rest:
            if loss is None:
                raise TrainingError(
                    f"the scorer {type(self).__name__} needs a loss", "give loss(model, batch) -> Tensor"
                )
            self.check_model(model)
            with switched_equilibrium(model, self.gradient_equilibrium):
                sums = self.accumulate(model, rest, batches, loss)
            for group in rest:
                # Sums are in double precision, and scores are not.
                scores[group.name] = checked(group.name, sums[group.name].float().cpu())
        return {g.name: scores[g.name] for g in groups}

    def check_model(self, model: nn.Module) -> None:
        """Raise ``UnsupportedModelError`` where the scorer has no meaning for the model."""

    @abstractmethod
    def accumulate(
        self, model: nn.Module, groups: Sequence[Group], batches: Iterable[Any], loss: Loss
    ) -> dict[str, Tensor]:
        """Importance of groups that do not rank themselves: name -> ``[size]``, finite."""

    def losses(
        self, model: nn.Module, batches: Iterable[Any], loss: Loss, groups: Sequence[Group] = ()
    ) -> Iterator[tuple[int, Tensor]]:
        """Number (from 1) and scalar loss, with its graph, of each batch; messages name ``groups``."""
        number = 0
        for number, batch in enumerate(batches, 1):
            yield number, self._scalar(loss(model, batch), number, groups)
        if number == 0:
            raise TrainingError("there is no batch to score on", "give at least one batch")

    def _scalar(self, value: Tensor, number: int, groups: Sequence[Group]) -> Tensor:
        if value.dim() > 1:
            raise TrainingError(
                f"the loss of batch {number} has shape {tuple(value.shape)}",
                "give a scalar, or one value for every exit, [E]",
            )
        total = value if value.dim() == 0 else value.sum() if self.exits == "all" else value[-1]
        if not math.isfinite(float(total.detach())):
            raise TrainingError(
                f"the loss of batch {number} is {float(total.detach())}{_without_importance(groups)}",
                "look for weights that are not finite, at the data and the learning rate; score in float32",
            )
        if not total.requires_grad:
            raise TrainingError(
                f"the loss of batch {number} does not depend on any group that is scored",
                "the loss must run the model it is given, without no_grad or detach",
            )
        return total


def _without_importance(groups: Sequence[Group]) -> str:
    if not groups:
        return ""
    names = ", ".join(group.name for group in groups[:3])
    if len(groups) > 3:
        names = f"{names} and {len(groups) - 3} more groups"
    return f", so {names} {'has' if len(groups) == 1 else 'have'} no importance"


def require_all(sums: dict[str, Tensor], groups: Sequence[Group]) -> None:
    """Raise ``TrainingError`` if the loss of no batch depended on a group."""
    for group in groups:
        if group.name not in sums:
            raise TrainingError(
                f"no loss depends on {group.name}, so it has no importance",
                "the loss must use every layer that is scored: compute all exits, and detach nothing",
            )


def gradient_of(piece: Piece) -> Tensor:
    """``.grad`` of a piece's parameter, for use in torch-pruning's pruners.

    Raises:
        TrainingError: there is none.
    """
    gradient = piece.tensor.grad
    if gradient is None:
        raise TrainingError(
            f"{piece.label} has no .grad, and the scorer needs one",
            "run loss.backward() before the pruner's step()",
        )
    return gradient.detach()


def exit_modules(model: nn.Module) -> list[nn.Module]:
    """Modules that can balance the gradients of exits: those with a bool ``gradient_equilibrium``."""
    return [m for m in model.modules() if isinstance(getattr(m, "gradient_equilibrium", None), bool)]


def require_exits(model: nn.Module) -> None:
    """Raise ``UnsupportedModelError`` for a model without exits."""
    if not exit_modules(model):
        raise UnsupportedModelError(
            f"{type(model).__name__} has no exits: none of its modules has a bool gradient_equilibrium",
            "make it a MultiExitForSequenceClassification, or use the scorer taylor",
        )


@contextmanager
def switched_equilibrium(model: nn.Module, enabled: bool | None) -> Iterator[None]:
    """Gradient equilibrium on or off (``None``: left alone) for a block of code, then as it was."""
    if enabled:
        require_exits(model)
    before: list[tuple[Any, bool]] = [(m, bool(m.gradient_equilibrium)) for m in exit_modules(model)]
    try:
        if enabled is not None:
            for module, _ in before:
                module.gradient_equilibrium = enabled
        yield
    finally:
        for module, value in before:
            module.gradient_equilibrium = value
