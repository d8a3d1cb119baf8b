"""Llama-type decoders."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask

from . import register
from .base import Architecture, AttentionParts, Context, FeedForwardParts, positions_of


@register("llama")
class Llama(Architecture):
    """Llama and Mistral: pre-norm decoder, rotary positions, grouped queries, gated FFN."""

    model_types: ClassVar[tuple[str, ...]] = ("llama", "mistral")
    causal: ClassVar[bool] = True

    def finish(self, backbone: Any, hidden: Tensor) -> Tensor:
        normed: Tensor = backbone.norm(hidden)
        return normed

    def layers(self, backbone: Any) -> nn.ModuleList:
        return backbone.layers

    def attention(self, layer: Any) -> AttentionParts:
        inner = layer.self_attn
        return AttentionParts(inner.q_proj, inner.k_proj, inner.v_proj, inner.o_proj, inner.head_dim)

    def feed_forward(self, layer: Any) -> FeedForwardParts:
        return FeedForwardParts((layer.mlp.gate_proj, layer.mlp.up_proj), layer.mlp.down_proj)

    def word_embeddings(self, backbone: Any) -> tuple[nn.Module, str]:
        return backbone, "embed_tokens"

    def embed(
        self, backbone: Any, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None
    ) -> tuple[Tensor, Context]:
        hidden = backbone.embed_tokens(input_ids)
        positions = positions_of(attention_mask)
        if positions is None:
            positions = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        windowed = getattr(backbone.config, "sliding_window", None) is not None
        make = create_sliding_window_causal_mask if windowed else create_causal_mask
        mask = make(
            config=backbone.config,
            inputs_embeds=hidden,
            attention_mask=attention_mask,
            past_key_values=None,
        )
        rotary = backbone.rotary_emb(hidden, position_ids=positions)
        return hidden, {"attention_mask": mask, "position_embeddings": rotary, "position_ids": positions}
