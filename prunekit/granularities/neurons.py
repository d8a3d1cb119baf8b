"""FFN neurons."""

from __future__ import annotations

from torch import nn

from ..groups import Group
from . import register
from .base import Granularity
from .placed import placed_groups


@register("neurons")
class Neurons(Granularity):
    """FFN neurons of every layer; where there are experts, of all experts of a layer together.

    A neuron owns a row, and bias, of the input matrix (of gate and up where the FFN is gated) and a
    column of the output matrix (COST-EFF, section 3.2.2).
    """

    def groups(self, model: nn.Module) -> list[Group]:
        return placed_groups(model, "ffn", "neurons")
