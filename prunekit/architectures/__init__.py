"""Where embeddings, layers, attention, FFN and head are in each model family."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from transformers import PreTrainedModel

from ..errors import UnsupportedModelError
from ..registry import Registry
from .base import (
    Architecture,
    AttentionParts,
    FeedForwardParts,
    PostNormEncoder,
    first_token,
    last_token,
    select_rows,
)
from .elasticbert import ElasticBertCheckpoint, take_poolers
from .embedding import FactorizedEmbedding, singular_values, truncated_svd
from .narrowing import Narrowing, even_layers
from .narrowing import narrowed as _narrowed
from .shape import LayerShape, ModelShape, apply_shape, read_shape

registry: Registry[Architecture] = Registry("architecture", Architecture, "prunekit.architectures")
register = registry.register


# Checkpoints that are models of transformers under another layout: model type -> what reads them.
LAYOUTS = {"elasticbert": ElasticBertCheckpoint()}


def backbone_of(model: nn.Module) -> nn.Module:
    """The bare encoder or decoder inside a task model; the model itself where there is no task model."""
    inner = getattr(model, "base_model", model)
    return model if inner is model else backbone_of(inner)


def architecture_of(model: nn.Module) -> Architecture:
    """The adapter of a model's family, by its configuration's ``model_type``.

    Raises:
        UnsupportedModelError: no registered family has this type.
    """
    model_type = getattr(getattr(backbone_of(model), "config", None), "model_type", None)
    what = f"{type(model).__name__}, which has no configuration," if not model_type else None
    return require_architecture(model_type, what)


def require_architecture(model_type: str | None, what: str | None = None) -> Architecture:
    """The adapter of a family.

    Args:
        model_type: of its configuration.
        what: how a message calls it.

    Raises:
        UnsupportedModelError: no registered family has this type.
    """
    known: list[str] = []
    for name in registry.names():
        part = registry.get(name)
        if model_type in part.model_types:
            return part()
        known.extend(part.model_types)
    what = what or f"model type {model_type!r}"
    raise UnsupportedModelError(
        f"{what} belongs to no registered architecture (known: {', '.join(sorted(known))})",
        "register an Architecture for it, or use the granularity 'channels', which traces any module",
    )


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
    "FactorizedEmbedding",
    "FeedForwardParts",
    "LayerShape",
    "ModelShape",
    "Narrowing",
    "PostNormEncoder",
    "architecture_of",
    "backbone_of",
    "even_layers",
    "first_token",
    "id_limits",
    "last_token",
    "longest_input",
    "narrowed",
    "register",
    "registry",
    "require_architecture",
    "reshape",
    "select_rows",
    "shape_of",
    "singular_values",
    "take_poolers",
    "truncated_svd",
]
