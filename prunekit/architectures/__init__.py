"""Where embeddings, layers, attention, FFN and head are in each model family."""

from __future__ import annotations

from typing import cast
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from transformers import PreTrainedModel

from ..registry import Registry
from .base import Architecture, AttentionParts, FeedForwardParts, Place, PostNormEncoder
from .blocks import Block, Kind
from .elasticbert import ElasticBertCheckpoint, take_poolers
from .embedding import FactorizedEmbedding, singular_values, truncated_svd
from .narrowing import Narrowing, even_layers
from .narrowing import narrowed as _narrowed
from .recording import Context, first_token, last_token, select_rows
from .shape import LayerShape, ModelShape, apply_shape, read_shape
from .structure import recognised, verified

registry: Registry[Architecture] = Registry("architecture", Architecture, "prunekit.architectures")
register = registry.register


# Checkpoints that are models of transformers under another layout: model type -> what reads them.
LAYOUTS = {"elasticbert": ElasticBertCheckpoint()}

# Models of no registered family -> what was found of their structure.
_recognised: WeakKeyDictionary[nn.Module, Architecture] = WeakKeyDictionary()


def backbone_of(model: nn.Module) -> nn.Module:
    """The bare encoder or decoder inside a task model; the model itself where there is no task model."""
    inner = getattr(model, "base_model", model)
    return model if inner is model else backbone_of(inner)


def architecture_of(model: nn.Module) -> Architecture:
    """The adapter of a model's family, by its configuration's ``model_type``; else what its structure shows.

    Raises:
        UnsupportedModelError: no registered family has this type, and the structure is not understood.
    """
    backbone = backbone_of(model)
    known = registered_for(getattr(getattr(backbone, "config", None), "model_type", None))
    if known is not None:
        return known
    if backbone not in _recognised:
        _recognised[backbone] = recognised(backbone)
    return _recognised[backbone]


def prunable_architecture(model: nn.Module, kind: Kind) -> Architecture:
    """:func:`architecture_of`, which for a family that is not registered is tried out before anything is cut.

    Raises:
        UnsupportedModelError: as there, or the structure is not what it seemed to be.
    """
    architecture, backbone = architecture_of(model), backbone_of(model)
    return verified(architecture, backbone, kind) if backbone in _recognised else architecture


def registered_for(model_type: str | None) -> Architecture | None:
    """The adapter of a registered family, by its type."""
    parts = (registry.get(name) for name in registry.names())
    return next((part() for part in parts if model_type in part.model_types), None)


def longest_input(model: nn.Module) -> int | None:
    """Tokens that the model takes at most; ``None`` where its configuration sets no limit."""
    backbone = backbone_of(model)
    limit = getattr(getattr(backbone, "config", None), "max_position_embeddings", None)
    if not isinstance(limit, int):
        return None
    # RoBERTa's positions begin behind the padding token's, which has a position of its own.
    tables = (m for m in backbone.modules() if isinstance(m, nn.Embedding) and m.num_embeddings == limit)
    return limit - next((m.padding_idx + 1 for m in tables if m.padding_idx is not None), 0)


def id_limits(model: nn.Module) -> dict[str, int]:
    """How many ids the model has an embedding for: of tokens, and of segments where it has some."""
    limits = {"input_ids": shape_of(model).vocab_size}
    for name, module in backbone_of(model).named_modules():
        if name.endswith("token_type_embeddings") and isinstance(module, nn.Embedding):
            limits["token_type_ids"] = module.num_embeddings
    return limits


def shape_of(model: nn.Module) -> ModelShape:
    """The present sizes of a model's backbone."""
    return read_shape(architecture_of(model), backbone_of(model))


def reshape(model: nn.Module, shape: ModelShape) -> None:
    """Narrow a model's backbone to ``shape`` in place (first units stay; a new rank starts random)."""
    apply_shape(architecture_of(model), backbone_of(model), shape)


def narrowed(model: PreTrainedModel, to: Narrowing) -> tuple[PreTrainedModel, Tensor]:
    """A smaller copy of a model's backbone, and the hidden dimensions it kept: see :mod:`.narrowing`."""
    backbone = cast("PreTrainedModel", backbone_of(model))
    return _narrowed(architecture_of(model), backbone, to)


__all__ = [
    "LAYOUTS",
    "Architecture",
    "AttentionParts",
    "Block",
    "Context",
    "FactorizedEmbedding",
    "FeedForwardParts",
    "LayerShape",
    "ModelShape",
    "Narrowing",
    "Place",
    "PostNormEncoder",
    "architecture_of",
    "backbone_of",
    "even_layers",
    "first_token",
    "id_limits",
    "last_token",
    "longest_input",
    "narrowed",
    "prunable_architecture",
    "register",
    "registered_for",
    "registry",
    "reshape",
    "select_rows",
    "shape_of",
    "singular_values",
    "take_poolers",
    "truncated_svd",
]
