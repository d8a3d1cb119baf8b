"""First-order Taylor importance (COST-EFF's Eq. 2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..dependency_graph import per_channel, pieces, root_name
from ..groups import Group
from . import register
from .base import Loss, checked
from .gates import GateReader, check_finite, scoring_mode
from .gradient import GradientScorer, gradient_of, require_all


@register("taylor")
class Taylor(GradientScorer):
    """Taylor: the absolute value of the sum of activation x gradient (COST-EFF, Eq. 2).

    I(S) = | sum over h in S of h * dL/dh |, the first-order change of the loss if the unit is removed
    (COST-EFF, section 3.2.2; Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient
    Inference", 2017). ``h`` is seen at the group's gates, and the sum runs over examples, tokens, the unit's
    width and all batches before the absolute value is taken. It equals the derivative by a factor on the
    unit, and, by the chain rule, sum of w * dL/dw over the columns that read the unit.

    Needs gradients of activations alone: memory beyond them is one number a unit.

    Args:
        exits, gradient_equilibrium: see :class:`GradientScorer`. By default the last exit's loss counts.
    """

    def accumulate(
        self, model: nn.Module, groups: Sequence[Group], batches: Iterable[Any], loss: Loss
    ) -> dict[str, Tensor]:
        """|sum| for each unit."""
        sums: dict[str, Tensor] = {}
        with scoring_mode(model), GateReader(groups) as reader:
            for number, total in self.losses(model, batches, loss, groups):
                added = reader.backward(total)
                check_finite(added, number)
                for name, value in added.items():
                    sums[name] = sums[name] + value if name in sums else value
        require_all(sums, groups)
        return {name: value.abs() for name, value in sums.items()}

    @torch.no_grad()
    def __call__(self, group: Any, **kwargs: Any) -> Tensor | None:
        """|sum of w * dL/dw| over the columns that read each channel, from ``.grad``.

        Where no Linear or convolution reads the channels, over the rows and biases that make them. The
        gradient is what the caller's backward pass left: of one exit, or of all of them.
        """
        parts = pieces(group)
        chosen = [p for p in parts if p.role == "consumer"] or [p for p in parts if p.role == "producer"]
        if not chosen:
            return None
        values = per_channel(group, chosen, [p.tensor * gradient_of(p) for p in chosen])
        return checked(root_name(group), values.abs().float())
