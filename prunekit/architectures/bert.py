"""BERT, and the families that share its layout: RoBERTa (with XLM-R and CamemBERT) and ELECTRA."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask

from . import register
from .base import Architecture, AttentionParts, Context, FeedForwardParts


@register("bert")
class Bert(Architecture):
    """BERT: post-norm encoder, learned positions, segment embeddings."""

    model_types: ClassVar[tuple[str, ...]] = ("bert",)

    def layers(self, backbone: Any) -> nn.ModuleList:
        return backbone.encoder.layer

    def attention(self, layer: Any) -> AttentionParts:
        inner = layer.attention.self
        return AttentionParts(
            inner.query, inner.key, inner.value, layer.attention.output.dense, inner.attention_head_size
        )

    def feed_forward(self, layer: Any) -> FeedForwardParts:
        return FeedForwardParts((layer.intermediate.dense,), layer.output.dense)

    def word_embeddings(self, backbone: Any) -> tuple[nn.Module, str]:
        return backbone.embeddings, "word_embeddings"

    def embed(
        self, backbone: Any, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None
    ) -> tuple[Tensor, Context]:
        hidden = backbone.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
        mask = create_bidirectional_mask(
            config=backbone.config, inputs_embeds=hidden, attention_mask=attention_mask
        )
        return hidden, {"attention_mask": mask}

    def sync(self, layer: Any) -> None:
        inner = layer.attention.self
        inner.num_attention_heads = self.attention(layer).num_attention_heads
        inner.all_head_size = inner.query.out_features


@register("roberta")
class Roberta(Bert):
    """RoBERTa, XLM-RoBERTa and CamemBERT: BERT's layout with positions counted from the padding index."""

    model_types: ClassVar[tuple[str, ...]] = ("roberta", "xlm-roberta", "camembert")


@register("electra")
class Electra(Bert):
    """ELECTRA: BERT's layout, with a projection after embeddings narrower than the layers."""

    model_types: ClassVar[tuple[str, ...]] = ("electra",)

    def embed(
        self, backbone: Any, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None
    ) -> tuple[Tensor, Context]:
        hidden, context = super().embed(backbone, input_ids, attention_mask, token_type_ids)
        project = getattr(backbone, "embeddings_project", None)
        return (hidden if project is None else project(hidden)), context
