"""DistilBERT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask

from . import register
from .base import PostNormEncoder
from .recording import Context, positions_of


@register("distilbert")
class DistilBert(PostNormEncoder):
    """DistilBERT: BERT's layers under other names, no segment embeddings."""

    model_types: ClassVar[tuple[str, ...]] = ("distilbert",)
    stack_paths: ClassVar[tuple[str, ...]] = ("transformer.layer",)

    def word_embeddings(self, backbone: Any) -> tuple[nn.Module, str]:
        return backbone.embeddings, "word_embeddings"

    def embed(self, backbone: Any, inputs: Mapping[str, Any]) -> tuple[Tensor, list[Context]]:
        mask = inputs.get("attention_mask")
        hidden = backbone.embeddings(inputs["input_ids"], position_ids=positions_of(mask))
        mask = create_bidirectional_mask(config=backbone.config, inputs_embeds=hidden, attention_mask=mask)
        return hidden, [{"attention_mask": mask}] * len(self.layers(backbone))

    def truncate(self, backbone: Any, num_layers: int) -> None:
        del self.layers(backbone)[num_layers:]  # type: ignore[attr-defined]
        backbone.config.n_layers = num_layers
