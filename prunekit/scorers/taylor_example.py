"""First-order Taylor importance with the absolute value taken example by example."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..arguments import one_of
from ..errors import TrainingError
from ..groups import Group
from . import register
from .base import Loss
from .gates import GateReader, check_finite, scoring_mode
from .gradient import GradientScorer, require_all


@register("taylor_example")
class TaylorExample(GradientScorer):
    """Taylor per example: mean over examples of the absolute value of each one's sum.

    I(S) = 1/N * sum over examples n of | sum over h in S of h_n * dL_n/dh_n | (Molchanov et al., "Pruning
    Convolutional Neural Networks for Resource Efficient Inference", 2017, section 2.2). Where Eq. 2 lets
    examples that pull in opposite directions cancel, this does not.

    Dimension 0 of the activations at the gates must be the batch.

    Args:
        loss_reduction: ``"mean"`` if the loss is a mean over the batch (most are): an example's part of the
            gradient is then 1/B of its own, which is undone, so that the importance does not depend on the
            batch size; ``"sum"`` if it is a sum.
        exits, gradient_equilibrium: see :class:`GradientScorer`.
    """

    def __init__(
        self,
        loss_reduction: Literal["mean", "sum"] = "mean",
        exits: Literal["last", "all"] = "last",
        gradient_equilibrium: bool | None = False,
    ) -> None:
        one_of(loss_reduction, "taylor_example.loss_reduction", ("mean", "sum"))
        super().__init__(exits, gradient_equilibrium)
        self.loss_reduction = loss_reduction

    def accumulate(
        self, model: nn.Module, groups: Sequence[Group], batches: Iterable[Any], loss: Loss
    ) -> dict[str, Tensor]:
        """Mean of |per-example sum| for each unit."""
        sums: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        with scoring_mode(model), GateReader(groups, per_example=True) as reader:
            for number, total in self.losses(model, batches, loss, groups):
                added = reader.backward(total)
                check_finite(added, number)
                for name, value in added.items():
                    factor = value.shape[0] if self.loss_reduction == "mean" else 1
                    part = value.abs().sum(dim=0) * factor
                    sums[name] = sums[name] + part if name in sums else part
                    counts[name] = counts.get(name, 0) + value.shape[0]
        require_all(sums, groups)
        return {name: value / counts[name] for name, value in sums.items()}

    @torch.no_grad()
    def __call__(self, group: Any, **kwargs: Any) -> Tensor | None:
        """Not to be had inside torch-pruning: ``.grad`` has already summed over the examples.

        Raises:
            TrainingError: always.
        """
        raise TrainingError(
            "taylor_example cannot work from .grad, in which the examples are already summed",
            "call its score(model, groups, batches, loss), or use taylor in torch-pruning's pruner",
        )
