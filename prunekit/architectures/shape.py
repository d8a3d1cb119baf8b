"""The sizes of a slimmed transformer: read from a model, written to ``config.json``, put on a fresh model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from ..errors import CheckpointError
from .base import Architecture
from .blocks import is_matrix, width_out
from .embedding import FactorizedEmbedding, scale_of


@dataclass(frozen=True)
class LayerShape:
    """Widths of one layer."""

    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a backbone. ``embedding_rank`` is ``None`` where the word embedding is one matrix."""

    hidden_size: int
    vocab_size: int
    embedding_size: int
    embedding_rank: int | None
    layers: tuple[LayerShape, ...]

    def to_dict(self) -> dict[str, Any]:
        """As it stands in ``config.json``; layers in the manner of transformers' ``per_layer_config``."""
        return {
            "hidden_size": self.hidden_size,
            "vocab_size": self.vocab_size,
            "embedding_size": self.embedding_size,
            "embedding_rank": self.embedding_rank,
            "per_layer_config": {str(i): asdict(layer) for i, layer in enumerate(self.layers)},
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ModelShape:
        """The inverse of :meth:`to_dict`."""
        try:
            layers = data["per_layer_config"]
            return cls(
                data["hidden_size"],
                data["vocab_size"],
                data["embedding_size"],
                data["embedding_rank"],
                tuple(LayerShape(**layers[str(i)]) for i in range(len(layers))),
            )
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"config.json describes no valid layer widths: {error!r}") from error


def read_shape(architecture: Architecture, backbone: nn.Module) -> ModelShape:
    """The present sizes of a backbone."""
    layers = tuple(layer_shape(architecture, layer) for layer in architecture.layers(backbone))
    owner, name = architecture.word_embeddings(backbone)
    words = getattr(owner, name)
    if isinstance(words, FactorizedEmbedding):
        rank: int | None = words.rank
        vocab_size, embedding_size = words.embedding.num_embeddings, words.projection.out_features
    else:
        rank = None
        vocab_size, embedding_size = words.num_embeddings, words.embedding_dim
    return ModelShape(_hidden_size(architecture, backbone), vocab_size, embedding_size, rank, layers)


def _hidden_size(architecture: Architecture, backbone: Any) -> int:
    outputs = (b.output for b in architecture.blocks(architecture.layers(backbone)[0]))
    written = next((width_out(matrix) for matrix in outputs if is_matrix(matrix)), None)
    return int(backbone.config.hidden_size) if written is None else written


def layer_shape(architecture: Architecture, layer: nn.Module) -> LayerShape:
    """The present widths of a layer: of its first attention, and its first FFN (of one expert, of those)."""
    blocks = architecture.blocks(layer)
    attention = next((b for b in blocks if b.kind == "attention"), None)
    neurons = next((b.size for b in blocks if b.kind == "ffn"), 0)
    if attention is None:
        return LayerShape(0, 0, 0, neurons)
    queries = attention.size * attention.queries
    return LayerShape(queries, attention.size * attention.keys or 1, attention.head_dim, neurons)


def _narrow(linear: nn.Linear, out_features: int, in_features: int) -> None:
    if out_features > linear.out_features or in_features > linear.in_features:
        raise CheckpointError(
            f"a matrix of {tuple(linear.weight.shape)} cannot become {(out_features, in_features)}: "
            "the recorded widths are larger than the original model's"
        )
    linear.weight = nn.Parameter(linear.weight.detach()[:out_features, :in_features].clone())
    if linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias.detach()[:out_features].clone())
    linear.out_features, linear.in_features = out_features, in_features


def apply_shape(architecture: Architecture, backbone: nn.Module, shape: ModelShape) -> None:
    """Narrow a backbone to ``shape`` in place, keeping the first units: the frame that weights load into.

    Raises:
        CheckpointError: another number of layers, or widths larger than the model's.
    """
    layers = architecture.layers(backbone)
    if len(layers) != len(shape.layers):
        raise CheckpointError(f"widths are given for {len(shape.layers)} layers, the model has {len(layers)}")
    for layer, new in zip(layers, shape.layers, strict=True):
        blocks = architecture.blocks(layer)
        attention, ffn = architecture.attention(layer), architecture.feed_forward(layer)
        query, key = new.num_attention_heads * new.head_dim, new.num_key_value_heads * new.head_dim
        _narrow(attention.query, query, attention.query.in_features)
        _narrow(attention.key, key, attention.key.in_features)
        _narrow(attention.value, key, attention.value.in_features)
        _narrow(attention.output, attention.output.out_features, query)
        for matrix in ffn.inputs:
            _narrow(matrix, new.intermediate_size, matrix.in_features)
        _narrow(ffn.output, ffn.output.out_features, new.intermediate_size)
        for block, size in zip(blocks, (new.num_key_value_heads, new.intermediate_size), strict=True):
            block.sync(size)
    owner, name = architecture.word_embeddings(backbone)
    words = getattr(owner, name)
    if shape.embedding_rank is None:
        return
    if isinstance(words, FactorizedEmbedding):
        weight, padding_idx = words.embedding.weight, words.embedding.padding_idx
    else:
        weight, padding_idx = words.weight, words.padding_idx
    with torch.device(weight.device):
        new_words = FactorizedEmbedding(
            shape.vocab_size, shape.embedding_rank, shape.embedding_size, padding_idx, scale_of(words)
        )
    setattr(owner, name, new_words.to(weight.dtype))
