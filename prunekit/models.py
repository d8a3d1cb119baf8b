"""Where a recipe's model comes from: the built-in small encoder, a folder, or the Hugging Face hub."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from transformers import (
    AutoModel,
    BertConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from . import loading  # noqa: F401 - registers how transformers loads pruned models
from .architectures import (
    LAYOUTS,
    architecture_of,
    backbone_of,
    id_limits,
)
from .errors import (
    CheckpointError,
    DataError,
    PrunekitError,
    RecipeError,
    UnsupportedModelError,
    first_line,
)
from .exits import MultiExitConfig, MultiExitForSequenceClassification
from .pretrained import (
    NO_CODE,
    check_sizes,
    described,
    read_config,
    read_tokenizer,
    reading,
    refuse_not_finite,
    with_padding,
)
from .sizes import apply, recorded
from .text import shown

if TYPE_CHECKING:
    from torch import nn

    from .architectures.elasticbert import ElasticBertCheckpoint
    from .data import EncodedTask

BUILTIN = "builtin:"
# What says which model it is, or is set elsewhere.
_NOT_CHANGED = {
    "model_type", "architectures", "auto_map", "dtype", "torch_dtype", "transformers_version", "id2label",
    "label2id", "num_labels", "problem_type", "backbone", "quantization_config", "attn_implementation",
    "return_dict", "output_hidden_states", "output_attentions", "attribute_map", "name_or_path",
}  # fmt: skip
# How a wrapped model's weights begin -> what is inside of it.
_WRAPPERS = {
    "module.": "model.module",
    "_orig_mod.": "model._orig_mod",
    "base_model.model.": "merge_and_unload()",
}

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
                f"model.name: there is no {shown(model.name)!r}", "the one built in is builtin:small-encoder"
            )
        config: PretrainedConfig = BertConfig(**SMALL_ENCODER)
        if vocab_size is not None:
            config.vocab_size = vocab_size
    else:
        layout, found = _layout(model)
        if layout is None:
            config = read_config(model.name, model.revision, found)
        else:
            with reading(model.name):
                config = layout.config(found)
    inner = getattr(config, "backbone", None)
    target = inner if isinstance(inner, PretrainedConfig) else config
    for key, value in model.config.items():
        _change(target, key, value)
    _check_heads(target)
    return config


def _change(config: PretrainedConfig, key: str, value: Any) -> None:
    """Set one setting of a configuration, which checks its type.

    Raises:
        RecipeError: there is no such setting, it is not the recipe's to change, or the value does not fit.
    """
    known = {*config.to_dict(), *config.attribute_map}
    if key in _NOT_CHANGED or key.startswith("_") or key not in known:
        close = difflib.get_close_matches(key, sorted(known - _NOT_CHANGED), n=1)
        raise RecipeError(
            f"model.config.{shown(key)}: {type(config).__name__} has no such setting to be changed here",
            f"did you mean {close[0]!r}?" if close else None,
        )
    check_sizes({key: value}, "model.config")
    before = getattr(config, key)
    if type(before) is float and type(value) is int:
        value = float(value)  # 1 in place of 1.0
    try:
        setattr(config, key, value)
    except Exception as error:  # of transformers' own checks, which differ from setting to setting
        raise RecipeError(f"model.config.{key}: {shown(_reason(error))}") from error


def _reason(error: Exception) -> str:
    """Of a check's two lines the one that says what was expected."""
    return str(error).strip().splitlines()[-1].strip()


def load_backbone(model: ModelConfig, vocab_size: int | None = None) -> PreTrainedModel:
    """The bare encoder or decoder a recipe starts from, with the checkpoint's pooler where it has one.

    In float32, in whatever precision it is stored: half precision alone cannot be trained in. The built-in
    encoder draws its weights from torch's present seed. A folder that prunekit wrote gives the slimmed
    backbone in it. What is made of a pooler:
    :meth:`~prunekit.exits.MultiExitForSequenceClassification.from_backbone`.

    Raises:
        CheckpointError: weights are missing, or no numbers.
        RecipeError: no model can be made with the recipe's changes.
        UnsupportedModelError: of a family that is not known.
    """
    config = load_config(model, vocab_size)
    if model.is_builtin:
        return _checked(built(model, config))
    if config.model_type.startswith("prunekit"):
        from .checkpoints import load

        loaded = load(model.name, attn_implementation=model.attention, dtype=torch.float32)
        return _checked(cast("PreTrainedModel", backbone_of(loaded)))
    arguments: dict[str, Any] = {
        "revision": model.revision,
        "config": config,
        "attn_implementation": model.attention,
        "dtype": torch.float32,
    }
    with reading(model.name):
        layout, _ = _layout(model)
        if layout is not None:
            backbone, missing = layout.load(model.name, **arguments), set()
        else:
            backbone, info = AutoModel.from_pretrained(
                model.name, output_loading_info=True, **arguments, **NO_CODE
            )
            missing = info["missing_keys"]
            _refuse_missing(missing, info["unexpected_keys"], model.name)
    refuse_not_finite(backbone, shown(model.name))
    return _checked(backbone, pooler=not missing)


def _refuse_missing(missing: Iterable[str], unexpected: Iterable[str], name: str) -> None:
    """Many checkpoints have no pooler, and only some exits have a use for one; all else must be there."""
    lacking = sorted(key for key in missing if "pooler" not in key)
    if not lacking:
        return
    wrapped = next((p for p in _WRAPPERS if any(key.startswith(p) for key in unexpected)), None)
    if wrapped is not None:
        raise CheckpointError(
            f"the weights of {shown(name)} have names that begin with {wrapped!r}: they were saved from a "
            "wrapped model",
            f"save the model inside of it ({_WRAPPERS[wrapped]}), or take {wrapped!r} off the names",
        )
    raise CheckpointError(
        f"the model {shown(name)} lacks {', '.join(lacking[:3])}, which would stay random",
        "its weights do not fit its config.json: they are of another model, or not complete",
    )


def skeleton(model: ModelConfig, vocab_size: int | None = None) -> PreTrainedModel:
    """The backbone on the meta device: shapes without weights, for plans and counts."""
    config = load_config(model, vocab_size)
    with torch.device("meta"):
        if isinstance(config, MultiExitConfig):
            with reading(model.name):
                model_with_exits = MultiExitForSequenceClassification(config)
                apply(model_with_exits, recorded(config) or {})
                return model_with_exits.backbone
        return _checked(built(model, config))


def built(model: ModelConfig, config: PretrainedConfig, auto: Any = AutoModel) -> PreTrainedModel:
    """A fresh model of a configuration, which may hold anything.

    Args:
        model: what the recipe says of it.
        config: of the model.
        auto: the auto class of what is made: the bare model, or one with a task's head.

    Raises:
        RecipeError: none can be made; of a family that is not known, or not with these values.
    """
    try:
        made = auto.from_config(config, attn_implementation=model.attention, dtype=torch.float32, **NO_CODE)
        changes = recorded(config)
        if changes is not None:
            apply(made, changes)
        return made
    except (PrunekitError, MemoryError):
        raise
    except Exception as error:  # whatever its modules raise
        words = shown(first_line(error))
        if "scaled_dot_product_attention" in str(error) or "attn_implementation" in str(error):
            raise RecipeError(
                f"model.attention: {config.model_type} has no {model.attention!r} attention ({words})",
                "set model.attention=eager",
            ) from error
        key = "model.config" if model.config else "model.name"
        raise RecipeError(
            f"{key}: no model can be made of this configuration: {type(error).__name__}: {words}",
            "look at the sizes and names in model.config and in the model's config.json",
        ) from error


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
    layout, found = _layout(model)
    # Where it finds no tokenizer class it asks the configuration, of which it must know the type.
    known = {} if layout is None else {"config": layout.config(found)}
    return with_padding(read_tokenizer(model.name, model.revision, **known), model.name)


def check_tokens(task: EncodedTask, backbone: nn.Module, name: str) -> None:
    """:func:`check_ids` of all splits; the backbone may be on the meta device."""
    limits = id_limits(backbone)
    for split, data in task.splits.items():
        check_ids(data, limits, f"the {split} examples", name)


def check_ids(data: Any, limits: Mapping[str, int], where: str, name: str) -> None:
    """Refuse token and segment ids that a model has no embedding for, before anything is computed.

    Args:
        data: encoded examples, as a split of :class:`~prunekit.data.EncodedTask`.
        limits: of the model, see :func:`~prunekit.architectures.id_limits`.
        where: what the examples are called.
        name: of the model, whose tokenizer made the ids.

    Raises:
        DataError: naming the examples and the id.
    """
    for column, limit in limits.items():
        most = largest_id(data, column)
        if most is not None and most >= limit:
            raise DataError(
                f"the tokenizer of {shown(name)} gives {column} up to {most} in {where}, and the model has "
                f"{limit} (0 to {limit - 1}): they do not belong together",
                "give the tokenizer that the model was trained with; for tokens that were added to it, "
                "call model.resize_token_embeddings(len(tokenizer)) and save both",
            )


def largest_id(data: Any, column: str) -> int | None:
    """The largest value in a column of lists of an encoded split; ``None`` where there is no such column."""
    import pyarrow.compute

    table = data.with_format("arrow")[:]
    if column not in table.column_names:
        return None
    most = pyarrow.compute.max(pyarrow.compute.list_flatten(table.column(column))).as_py()
    return None if most is None else int(most)


def _layout(model: ModelConfig) -> tuple[ElasticBertCheckpoint | None, dict[str, Any]]:
    """What reads a checkpoint of a type that transformers does not know, and its ``config.json``."""
    found = described(model.name, model.revision)
    return LAYOUTS.get(str(found.get("model_type"))), found


def _checked(backbone: PreTrainedModel, pooler: bool = False) -> PreTrainedModel:
    """The backbone, if its family is known; its pooler is taken off, unless it was trained."""
    architecture = architecture_of(backbone)
    config = backbone.config
    if not len(architecture.layers(backbone)):
        raise RecipeError("model.config.num_hidden_layers: the model has no layers", "give at least 1")
    for key in ("add_cross_attention", "is_decoder"):
        if not architecture.causal and getattr(config, key, False):
            raise UnsupportedModelError(
                f"config.{key} is true: prunekit runs a {config.model_type} as an encoder",
                "set it to false, or take a model that is no decoder",
            )
    return backbone if pooler else architecture.prepare(backbone)


def _check_heads(config: PretrainedConfig) -> None:
    heads, width = getattr(config, "num_attention_heads", None), getattr(config, "hidden_size", None)
    if heads and width and width % heads and getattr(config, "head_dim", None) is None:
        raise RecipeError(
            f"model.config: {heads} attention heads do not divide the hidden size {width}",
            "give a number of heads that divides it",
        )
