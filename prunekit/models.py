"""Where a recipe's model comes from: the built-in small encoder, a folder, or the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    BertConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from .architectures import LAYOUTS, architecture_of, backbone_of
from .errors import CheckpointError, PrunekitError, RecipeError, first_line
from .exits import MultiExitConfig, MultiExitForSequenceClassification
from .exits.model import drop_pooler

if TYPE_CHECKING:
    from .architectures.elasticbert import ElasticBertCheckpoint

BUILTIN = "builtin:"

SMALL_ENCODER: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "intermediate_size": 512,
    "max_position_embeddings": 128,
}


class ModelConfig(BaseModel):
    """Which model a recipe starts from."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    name: str = Field(
        "builtin:small-encoder",
        description="builtin:small-encoder (random weights), a folder, or a name on the Hugging Face hub",
    )
    revision: str | None = Field(None, description="branch, tag or commit on the hub")
    attention: Literal["sdpa", "eager"] = Field(
        "sdpa",
        description="attention implementation; training in bfloat16 on a processor always takes eager, "
        "which is quicker there",
    )
    config: dict[str, Any] = Field(
        default_factory=dict,
        description="changes to the model's configuration, e.g. hidden_dropout_prob; "
        "for the built-in encoder also its sizes",
    )

    @property
    def is_builtin(self) -> bool:
        """Whether the model is made here, with random weights."""
        return self.name.startswith(BUILTIN)


def load_config(model: ModelConfig, vocab_size: int | None = None) -> PretrainedConfig:
    """The configuration of the backbone, with the recipe's changes.

    Args:
        model: the recipe's ``model:``.
        vocab_size: of the tokenizer; needed by the built-in encoder alone.

    Raises:
        CheckpointError: no such folder, or the hub cannot be reached.
        RecipeError: a change names a setting the configuration does not have, or does not fit it.
    """
    if model.is_builtin:
        if model.name != "builtin:small-encoder":
            raise RecipeError(
                f"model.name: there is no {model.name!r}", "the one built in is builtin:small-encoder"
            )
        config: PretrainedConfig = BertConfig(**SMALL_ENCODER)
        if vocab_size is not None:
            config.vocab_size = vocab_size
    else:
        with _reading(model.name):
            layout, described = _layout(model)
            config = (
                AutoConfig.from_pretrained(model.name, revision=model.revision)
                if layout is None
                else layout.config(described)
            )
    inner = getattr(config, "backbone", None)
    target = inner if isinstance(inner, PretrainedConfig) else config
    for key, value in model.config.items():
        if not hasattr(target, key):
            raise RecipeError(f"model.config.{key}: {type(target).__name__} has no such setting")
        setattr(target, key, value)
    _check_heads(target)
    return config


def load_backbone(model: ModelConfig, vocab_size: int | None = None) -> PreTrainedModel:
    """The bare encoder or decoder a recipe starts from, with the checkpoint's pooler where it has one.

    In float32, in whatever precision it is stored: half precision alone cannot be trained in. The built-in
    encoder draws its weights from torch's present seed. A folder that prunekit wrote gives the slimmed
    backbone in it. What is made of a pooler:
    :meth:`~prunekit.exits.MultiExitForSequenceClassification.from_backbone`.
    """
    config = load_config(model, vocab_size)
    if model.is_builtin:
        backbone = AutoModel.from_config(config, attn_implementation=model.attention)
    elif config.model_type.startswith("prunekit"):
        from .checkpoints import load

        backbone = backbone_of(load(model.name, attn_implementation=model.attention, dtype=torch.float32))
    else:
        arguments: dict[str, Any] = {
            "revision": model.revision,
            "config": config,
            "attn_implementation": model.attention,
            "dtype": torch.float32,
        }
        with _reading(model.name):
            layout, _ = _layout(model)
            if layout is not None:
                return _checked(layout.load(model.name, **arguments))
            backbone, info = AutoModel.from_pretrained(model.name, output_loading_info=True, **arguments)
        # Many checkpoints have no pooler, and only some exits have a use for one.
        missing = sorted(key for key in info["missing_keys"] if "pooler" not in key)
        if missing:
            raise CheckpointError(
                f"the model {model.name} lacks {', '.join(missing[:3])}, which would stay random",
                "its weights do not fit its config.json; copy it again",
            )
        return _checked(backbone, pooler=not info["missing_keys"])
    return _checked(backbone)


def skeleton(model: ModelConfig, vocab_size: int | None = None) -> PreTrainedModel:
    """The backbone on the meta device: shapes without weights, for plans and counts."""
    config = load_config(model, vocab_size)
    with torch.device("meta"):
        if isinstance(config, MultiExitConfig):
            return MultiExitForSequenceClassification(config).backbone
        return _checked(AutoModel.from_config(config, attn_implementation=model.attention))


def load_tokenizer(model: ModelConfig, texts: Sequence[str] | None = None) -> PreTrainedTokenizerBase:
    """The model's tokenizer; for the built-in encoder a word-level one made from ``texts``.

    Raises:
        CheckpointError: the folder or the hub has none.
        ValueError: the built-in encoder, and no texts.
    """
    if model.is_builtin:
        from .data import word_tokenizer

        if texts is None:
            raise ValueError("the built-in encoder's tokenizer is made from texts")
        return word_tokenizer(texts)
    with _reading(model.name):
        layout, described = _layout(model)
        # Where it finds no tokenizer class it asks the configuration, of which it must know the type.
        known = {} if layout is None else {"config": layout.config(described)}
        return AutoTokenizer.from_pretrained(model.name, revision=model.revision, **known)


def _layout(model: ModelConfig) -> tuple[ElasticBertCheckpoint | None, dict[str, Any]]:
    """What reads a checkpoint of a type that transformers does not know, and its ``config.json``."""
    described, _ = PretrainedConfig.get_config_dict(model.name, revision=model.revision)
    return LAYOUTS.get(str(described.get("model_type"))), described


def _checked(backbone: PreTrainedModel, pooler: bool = False) -> PreTrainedModel:
    """The backbone, if its family is known; its pooler is taken off, unless it was trained."""
    architecture_of(backbone)
    if not pooler:
        drop_pooler(backbone)
    return backbone


def _check_heads(config: PretrainedConfig) -> None:
    heads, width = getattr(config, "num_attention_heads", None), getattr(config, "hidden_size", None)
    if heads and width and width % heads and getattr(config, "head_dim", None) is None:
        raise RecipeError(
            f"model.config: {heads} attention heads do not divide the hidden size {width}",
            "give a number of heads that divides it",
        )


def is_path(name: str) -> bool:
    """Whether a model's name can only be meant as a folder: the hub's are ``name`` or ``owner/name``."""
    path = Path(name)
    return path.is_absolute() or name.startswith((".", "~")) or len(path.parts) > 2


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn what loading a checkpoint raises into one message that names it."""
    if is_path(name) and not Path(name).exists():
        raise CheckpointError(
            f"cannot load the model {name!r}: there is no such folder",
            "give the path of a model folder, or a name on the hub: model.name=NAME",
        )
    try:
        yield
    except PrunekitError:
        raise
    except Exception as error:  # transformers passes on whatever its parsers raise
        if Path(name).exists():
            raise CheckpointError(
                f"cannot read the model in {name}: {first_line(error)}",
                "it needs config.json, model.safetensors and tokenizer, complete; copy it again",
            ) from error
        raise CheckpointError(
            f"cannot load the model {name!r}: there is no such folder, and the hub did not give it "
            f"({first_line(error)})",
            "check the name and the network, or give the path of a model folder: model.name=PATH",
        ) from error
