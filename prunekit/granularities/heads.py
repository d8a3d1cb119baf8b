"""Attention heads."""

from __future__ import annotations

from torch import Tensor, nn

from ..architectures import Architecture, architecture_of, backbone_of
from ..groups import Gate, Group, Slice, SlicedGroup
from . import register
from .base import Granularity


class HeadGroup(SlicedGroup):
    """The heads of one layer; where queries are grouped, a unit is a key/value head with its queries."""

    def __init__(self, architecture: Architecture, layer: nn.Module, index: int) -> None:
        parts = architecture.attention(layer)
        size = parts.num_key_value_heads
        wide, narrow = parts.query.out_features // size, parts.head_dim
        slices = []
        for matrix, width in ((parts.query, wide), (parts.key, narrow), (parts.value, narrow)):
            slices.append(Slice(matrix, "weight", 0, width))
            if matrix.bias is not None:
                slices.append(Slice(matrix, "bias", 0, width))
        slices.append(Slice(parts.output, "weight", 1, wide))
        super().__init__(
            f"layers.{index}.heads",
            "heads",
            size,
            layer=index,
            gates=[Gate(parts.output, "input", -1, wide)],
            slices=slices,
        )
        self._architecture, self._layer = architecture, layer

    def keep(self, indices: Tensor) -> None:
        super().keep(indices)
        self._architecture.sync(self._layer)


@register("heads")
class Heads(Granularity):
    """Attention heads of every layer (key/value groups where queries are grouped).

    A head owns rows, and biases, of Q, K and V, and columns of the attention output matrix
    (COST-EFF, section 3.2.2).
    """

    def groups(self, model: nn.Module) -> list[Group]:
        architecture = architecture_of(model)
        layers = architecture.layers(backbone_of(model))
        return [HeadGroup(architecture, layer, i) for i, layer in enumerate(layers)]
