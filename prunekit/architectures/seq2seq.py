"""T5, BART and Whisper: an encoder, and a decoder that reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from torch import nn

from . import register
from .base import Architecture, Place, shared_heads


@register("t5")
class T5(Architecture):
    """T5: the first layer of a stack computes relative positions for all, with a column for each head.

    So the layers of a stack lose the same heads: a unit is one head of every layer.
    """

    model_types: ClassVar[tuple[str, ...]] = ("t5", "mt5")
    stack_paths: ClassVar[tuple[str, ...]] = ("encoder.block", "decoder.block", "block")
    norm_path = "final_layer_norm"

    def places(self, backbone: Any) -> Iterator[Place]:
        places = list(super().places(backbone))
        for stack in dict.fromkeys(place.stack for place in places):
            inside = [place for place in places if place.stack == stack]
            for kind in ("SelfAttention", "EncDecAttention"):
                own = [p for p in inside if p.block.path.endswith(kind)]
                yield from shared_heads(own, f"{stack.partition('.')[0]}.{kind}")
            yield from (place for place in inside if place.block.kind == "ffn")


@register("bart")
class Bart(Architecture):
    """BART and mBART."""

    model_types: ClassVar[tuple[str, ...]] = ("bart", "mbart")
    stack_paths: ClassVar[tuple[str, ...]] = ("encoder.layers", "decoder.layers", "layers")
    norm_path = "layer_norm"


@register("whisper")
class Whisper(Architecture):
    """Whisper: an encoder of speech, a decoder of text."""

    model_types: ClassVar[tuple[str, ...]] = ("whisper",)
    stack_paths: ClassVar[tuple[str, ...]] = ("encoder.layers", "decoder.layers")
    norm_path = "layer_norm"

    def uses(self, backbone: Any, tokens: int) -> dict[nn.Module, float]:
        """Of a recording, which is always as long, and ``tokens`` tokens of text."""
        heard = backbone.config.max_source_positions
        found = super().uses(backbone, tokens)
        found |= {m: heard for m in backbone.encoder.modules() if m in found}
        for layer in self.stacks(backbone).get("decoder.layers", ()):
            found |= {layer.encoder_attn.k_proj: heard, layer.encoder_attn.v_proj: heard}  # type: ignore[union-attr, dict-item]
        return found | {backbone.encoder.conv1: 2 * heard}

    def pairs(self, backbone: Any, tokens: int) -> dict[nn.Module, float]:
        """Of a recording, which is always as long, and ``tokens`` tokens of text."""
        heard = backbone.config.max_source_positions
        found = super().pairs(backbone, tokens)
        found |= {m: heard**2 for m in backbone.encoder.modules() if m in found}
        for layer in self.stacks(backbone).get("decoder.layers", ()):
            found[layer.encoder_attn.out_proj] = tokens * heard  # type: ignore[union-attr, index]
        return found
