"""Attention heads."""

from __future__ import annotations

from torch import nn

from ..groups import Group
from . import register
from .base import Granularity
from .placed import placed_groups


@register("heads")
class Heads(Granularity):
    """Attention heads of every layer (key/value groups where queries are grouped).

    A head owns rows, and biases, of Q, K and V, and columns of the attention output matrix
    (COST-EFF, section 3.2.2), and its column of a table of relative positions.
    """

    def groups(self, model: nn.Module) -> list[Group]:
        return placed_groups(model, "attention", "heads")
