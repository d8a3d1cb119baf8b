"""BERT, and the families that share its layout: RoBERTa (with XLM-R and CamemBERT) and ELECTRA."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask

from ..errors import RecipeError
from ..groups import Slice
from . import register
from .base import PostNormEncoder
from .recording import Context


@register("bert")
class Bert(PostNormEncoder):
    """BERT: post-norm encoder, learned positions, segment embeddings."""

    model_types: ClassVar[tuple[str, ...]] = ("bert",)
    stack_paths: ClassVar[tuple[str, ...]] = ("encoder.layer",)

    def word_embeddings(self, backbone: Any) -> tuple[nn.Module, str]:
        return backbone.embeddings, "word_embeddings"

    def embed(self, backbone: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, list[Context]]:
        mask = inputs.get("attention_mask")
        hidden = backbone.embeddings(
            input_ids=inputs["input_ids"],
            token_type_ids=inputs.get("token_type_ids"),
            position_ids=self.positions(backbone, mask),
        )
        mask = create_bidirectional_mask(config=backbone.config, inputs_embeds=hidden, attention_mask=mask)
        return hidden, [{"attention_mask": mask}] * len(self.layers(backbone))


@register("roberta")
class Roberta(Bert):
    """RoBERTa, XLM-RoBERTa and CamemBERT: BERT's layout with positions counted from the padding index."""

    model_types: ClassVar[tuple[str, ...]] = ("roberta", "xlm-roberta", "camembert")


@register("electra")
class Electra(Bert):
    """ELECTRA: BERT's layout, with a projection after embeddings narrower than the layers."""

    model_types: ClassVar[tuple[str, ...]] = ("electra",)

    def embed(self, backbone: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, list[Context]]:
        hidden, contexts = super().embed(backbone, inputs)
        project = getattr(backbone, "embeddings_project", None)
        return (hidden if project is None else project(hidden)), contexts

    def residual_slices(self, backbone: Any) -> list[Slice]:
        project = getattr(backbone, "embeddings_project", None)
        slices = super().residual_slices(backbone)
        if project is None:
            return slices
        # What comes before the projection is as wide as the embedding.
        before = set(backbone.embeddings.modules())
        rest = [piece for piece in slices if piece.module not in before]
        return [Slice(project, "weight", 0), Slice(project, "bias", 0), *rest]

    def resize(self, config: Any, hidden_size: int, num_attention_heads: int, num_layers: int) -> None:
        projected = config.embedding_size != config.hidden_size
        if projected and hidden_size == config.embedding_size:
            raise RecipeError(
                f"narrowing.hidden_size: {hidden_size} is this ELECTRA's embedding size, for which it has no "
                "projection",
                "give a hidden_size that differs from it",
            )
        super().resize(config, hidden_size, num_attention_heads, num_layers)
        if not projected:
            config.embedding_size = hidden_size
