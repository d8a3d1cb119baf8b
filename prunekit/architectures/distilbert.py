"""DistilBERT."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask

from . import register
from .base import AttentionParts, Context, FeedForwardParts, PostNormEncoder, positions_of


@register("distilbert")
class DistilBert(PostNormEncoder):
    """DistilBERT: BERT's layers under other names, no segment embeddings."""

    model_types: ClassVar[tuple[str, ...]] = ("distilbert",)

    def layers(self, backbone: Any) -> nn.ModuleList:
        return backbone.transformer.layer

    def attention(self, layer: Any) -> AttentionParts:
        inner = layer.attention
        return AttentionParts(inner.q_lin, inner.k_lin, inner.v_lin, inner.out_lin, inner.attention_head_size)

    def feed_forward(self, layer: Any) -> FeedForwardParts:
        return FeedForwardParts((layer.ffn.lin1,), layer.ffn.lin2)

    def word_embeddings(self, backbone: Any) -> tuple[nn.Module, str]:
        return backbone.embeddings, "word_embeddings"

    def embed(
        self, backbone: Any, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None
    ) -> tuple[Tensor, Context]:
        hidden = backbone.embeddings(input_ids, position_ids=positions_of(attention_mask))
        mask = create_bidirectional_mask(
            config=backbone.config, inputs_embeds=hidden, attention_mask=attention_mask
        )
        return hidden, {"attention_mask": mask}

    def sync(self, layer: Any) -> None:
        layer.attention.n_heads = self.attention(layer).num_attention_heads

    def truncate(self, backbone: Any, num_layers: int) -> None:
        del self.layers(backbone)[num_layers:]
        backbone.config.n_layers = num_layers
