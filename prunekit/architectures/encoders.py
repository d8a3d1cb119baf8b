"""DeBERTa, ModernBERT, MPNet and ALBERT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from torch import nn

from ..groups import Slice
from . import register
from .base import Architecture, Place, PostNormEncoder, shared_heads, shorten


@register("deberta")
class Deberta(PostNormEncoder):
    """DeBERTa-v2 and v3: positions relative to each token, in matrices of their own if not shared."""

    model_types: ClassVar[tuple[str, ...]] = ("deberta-v2",)
    stack_paths: ClassVar[tuple[str, ...]] = ("encoder.layer",)
    head_rows = ("pos_key_proj", "pos_query_proj")

    def uses(self, backbone: Any, tokens: int) -> dict[nn.Module, float]:
        found = super().uses(backbone, tokens)
        for attention in _relative(backbone):
            span = 2 * attention.pos_ebd_size
            if attention.share_att_key:  # the positions go through the matrices of the tokens too
                found |= {attention.query_proj: tokens + span, attention.key_proj: tokens + span}
            else:
                names = ("pos_key_proj", "pos_query_proj")
                found |= {m: span for name in names if (m := getattr(attention, name, None)) is not None}
        return found

    def pairs(self, backbone: Any, tokens: int) -> dict[nn.Module, float]:
        """Of tokens, and of tokens and positions: a product more for each way that these are compared."""
        found = super().pairs(backbone, tokens)
        for layer in self.layers(backbone):
            attention: Any = layer.attention.self  # type: ignore[union-attr]
            if attention.relative_attention:
                ways = sum(way in attention.pos_att_type for way in ("c2p", "p2c"))
                found[layer.attention.output.dense] += tokens * attention.pos_ebd_size * ways  # type: ignore[union-attr, index]
        return found


def _relative(backbone: Any) -> list[Any]:
    every = [layer.attention.self for layer in backbone.encoder.layer]
    return [attention for attention in every if attention.relative_attention]


@register("modernbert")
class ModernBert(Architecture):
    """ModernBERT: pre-norm encoder with rotary positions, and windows in most layers."""

    model_types: ClassVar[tuple[str, ...]] = ("modernbert",)
    stack_paths: ClassVar[tuple[str, ...]] = ("layers",)
    norm_path = "final_norm"


@register("mpnet")
class MpNet(PostNormEncoder):
    """MPNet: one table of relative positions, with a column for each head, serves all layers.

    So the layers lose the same heads: a unit is one head of every layer.
    """

    model_types: ClassVar[tuple[str, ...]] = ("mpnet",)
    stack_paths: ClassVar[tuple[str, ...]] = ("encoder.layer",)

    def places(self, backbone: Any) -> Iterator[Place]:
        table = Slice(backbone.encoder.relative_attention_bias, "weight", 1)
        yield from shared_heads(super().places(backbone), "layers", [table])


@register("albert")
class Albert(PostNormEncoder):
    """ALBERT: all layers share their weights, so they are cut once."""

    model_types: ClassVar[tuple[str, ...]] = ("albert",)

    def stacks(self, backbone: Any) -> dict[str, Sequence[nn.Module]]:
        layers, groups = backbone.config.num_hidden_layers, backbone.encoder.albert_layer_groups
        return {
            "encoder.albert_layer_groups": [groups[int(i / (layers / len(groups)))] for i in range(layers)]
        }

    def truncate(self, backbone: Any, num_layers: int) -> None:
        shorten(backbone.config, num_layers)
