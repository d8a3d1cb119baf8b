"""FFN neurons."""

from __future__ import annotations

from torch import nn

from ..architectures import FeedForwardParts, architecture_of, backbone_of
from ..groups import Gate, Group, Slice, SlicedGroup
from . import register
from .base import Granularity


@register("neurons")
class Neurons(Granularity):
    """FFN neurons of every layer.

    A neuron owns a row, and bias, of the input matrix (of gate and up where the FFN is gated) and a
    column of the output matrix (COST-EFF, section 3.2.2).
    """

    def groups(self, model: nn.Module) -> list[Group]:
        architecture = architecture_of(model)
        return [
            self._group(i, architecture.feed_forward(layer))
            for i, layer in enumerate(architecture.layers(backbone_of(model)))
        ]

    @staticmethod
    def _group(index: int, parts: FeedForwardParts) -> Group:
        slices = []
        for matrix in parts.inputs:
            slices.append(Slice(matrix, "weight", 0))
            if matrix.bias is not None:
                slices.append(Slice(matrix, "bias", 0))
        slices.append(Slice(parts.output, "weight", 1))
        return SlicedGroup(
            f"layers.{index}.neurons",
            "neurons",
            parts.output.in_features,
            layer=index,
            gates=[Gate(parts.output)],
            slices=slices,
        )
