"""First-order Taylor importance for all exits at once."""

from __future__ import annotations

from torch import nn

from ..arguments import flag
from . import register
from .gradient import require_exits
from .taylor import Taylor


@register("multi_exit_taylor")
class MultiExitTaylor(Taylor):
    """Taylor for all exits: Eq. 2 with the sum of all exits' losses, balanced by Eq. 3, in one backward pass.

    With gradient equilibrium the gradient that reaches layer k is the mean, not the sum, over the exits
    k..L (COST-EFF, section 3.3.2, Eq. 3). Exact: the scaling is linear, so one backward pass gives what L
    separate ones, combined, would.

    The loss should give one value for every exit, ``[E]``; a scalar is taken to be their sum already. Inside
    torch-pruning the gradients are the caller's: call backward with the sum of the exits' losses while the
    model's ``gradient_equilibrium`` is on.

    Args:
        gradient_equilibrium: switch the model's equilibrium on (or off) while scoring.
    """

    def __init__(self, gradient_equilibrium: bool = True) -> None:
        flag(gradient_equilibrium, "multi_exit_taylor.gradient_equilibrium")
        super().__init__(exits="all", gradient_equilibrium=gradient_equilibrium)

    def check_model(self, model: nn.Module) -> None:
        """A model without exits is refused, with or without equilibrium."""
        require_exits(model)
