"""Saving and loading slimmed models: safetensors in the Hugging Face folder layout."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, load_model, save_model
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME

from . import (
    __version__,
    loading,  # noqa: F401 - registers how transformers loads pruned models
)
from .errors import CheckpointError, PrunekitError
from .exits import MultiExitConfig, MultiExitForSequenceClassification
from .files import write_folder
from .groups import holders_of
from .module_sizes import follow
from .plain import plain_config
from .pretrained import described, json_object, read_config, reading, refuse_not_finite
from .sizes import KEY, apply, counts_of, record, recorded, skeleton
from .slim import SlimConfig, SlimLoader
from .text import shown
from .wrappers import unwrapped

SHAPES_FILE = "prunekit.json"
WEIGHTS_FILE = "model.safetensors"


def save(
    model: nn.Module,
    folder: str | os.PathLike[str],
    tokenizer: PreTrainedTokenizerBase | None = None,
    extra: Callable[[Path], None] | None = None,
    plain: bool = False,
) -> Path:
    """Write a slimmed model to a folder, whole or not at all.

    A multi-exit model or a slimmed model of ``transformers`` then loads with the auto classes
    (``AutoModelForSequenceClassification.from_pretrained`` after ``import prunekit``) and with
    :func:`load`; any other module with ``load(folder, into=...)``.

    Args:
        model: the model.
        folder: made, or replaced whole when it holds a model written by this function.
        tokenizer: saved beside it.
        plain: write a configuration that needs no prunekit, which other programs read too; only where all
            layers are alike and the family's configuration says how wide a head is.
        extra: called with the folder before it takes its final name, e.g. to add a model card.

    Raises:
        CheckpointError: the folder cannot be written, or holds something else, or no plain configuration says
            the sizes; nothing is lost.
        UnsupportedModelError: a PEFT model, whose adapters were not merged.
    """
    model = unwrapped(model)
    target = Path(folder)
    if target.exists() and not _replaceable(target):
        raise CheckpointError(
            f"{target} exists and is not a model folder that prunekit wrote",
            "give another folder, or move it away",
        )

    def fill(new: Path) -> None:
        _write(model, new, plain)
        if tokenizer is not None:
            tokenizer.save_pretrained(new)
        if extra is not None:
            extra(new)

    try:
        return write_folder(target, fill)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot write the model to {target}: {error}",
            "make room or give a folder that can be written; what was there before is untouched",
        ) from error


def load(folder: str | os.PathLike[str], *, into: nn.Module | None = None, **kwargs: Any) -> nn.Module:
    """Load a model that :func:`save` wrote, in evaluation mode.

    Args:
        folder: the folder.
        into: for modules that are not of ``transformers``: a fresh, unpruned model, which is narrowed to the
            recorded shapes in place and returned.
        kwargs: passed to ``from_pretrained``, e.g. ``attn_implementation="eager"``. A ``quantization_config``
            quantises the pruned model as it is loaded, which ``from_pretrained`` of transformers refuses:
            there a model has one loading method.

    Raises:
        CheckpointError: no such folder, or an unreadable, truncated, contradictory or foreign one.
    """
    source = Path(folder)
    name = shown(str(source))
    if not source.is_dir():
        raise CheckpointError(f"there is no folder {name}", "give a run's folder, or a model's")
    weights = source / WEIGHTS_FILE
    if not weights.is_file() and not (source / SAFE_WEIGHTS_INDEX_NAME).is_file():
        raise CheckpointError(f"{name} is not a model folder: there is no {WEIGHTS_FILE}")
    try:
        with reading(source):
            if weights.is_file():
                with weights.open("rb"):  # safetensors calls a file that may not be read missing
                    pass
                with safe_open(weights, "pt") as opened:
                    opened.keys()
            if into is not None or (source / SHAPES_FILE).exists():
                model = _load_into(source, into)
            else:
                model = _load_described(source, kwargs)
            if "quantization_config" not in kwargs:  # what is quantised holds whole numbers
                refuse_not_finite(model, name)
    except PrunekitError as error:
        if name in error.message:
            raise
        raise CheckpointError(f"cannot read the model in {name}: {error.message}", error.mend) from error
    return model.eval()


def _load_described(source: Path, arguments: dict[str, Any]) -> nn.Module:
    """A model of ``transformers``, or one with exits, as its ``config.json`` describes it."""
    found = described(source)
    if found.get("model_type") not in CONFIG_MAPPING:
        raise _not_of_transformers(source, found.get("architectures"))
    config = read_config(source, found=found)
    loader: Any
    if isinstance(config, MultiExitConfig):
        loader = MultiExitForSequenceClassification
        config.check()
    elif isinstance(config, SlimConfig):
        loader = SlimLoader
    else:
        loader = _class_named(source, config)
    if "quantization_config" in arguments and recorded(config) is not None:
        loader = _narrowing(loader, config)
    model, info = loader.from_pretrained(source, config=config, output_loading_info=True, **arguments)
    if isinstance(model, _Narrowed):
        model.restore()
    for keys, what in ((info["missing_keys"], "lacks"), (info["unexpected_keys"], "also holds")):
        if keys:
            # transformers would go on with random weights in place of those that are missing.
            raise CheckpointError(
                f"the weights do not fit config.json: the file {what} {', '.join(sorted(keys)[:3])}",
                "the folder is damaged or put together of two: copy it again",
            )
    module: nn.Module = model
    return module


def _class_named(source: Path, config: Any) -> type[PreTrainedModel]:
    """The class of transformers that a folder was saved from."""
    name = next(iter(config.architectures or ()), None)
    kind = getattr(transformers, name, None) if isinstance(name, str) else None
    if not (isinstance(kind, type) and issubclass(kind, PreTrainedModel)):
        raise _not_of_transformers(source, config.architectures)
    return kind


def _not_of_transformers(source: Path, architectures: Any) -> CheckpointError:
    name = shown(str(architectures[0])) if isinstance(architectures, list) and architectures else "its class"
    return CheckpointError(
        f"{shown(str(source))} holds a model whose class ({name}) is not one of transformers",
        f"import prunekit, then load it with the class itself: {name}.from_pretrained(...)",
    )


class _Narrowed:
    """A class that narrows itself when it is made, for folders that are quantised as they are loaded."""

    def restore(self) -> None:
        """Be the original class again."""
        self.__class__ = type(self).__mro__[2]  # type: ignore[assignment]


def _narrowing(original: type[PreTrainedModel], config: Any) -> Any:
    changes = recorded(config)
    delattr(config, KEY)

    class Narrowing(_Narrowed, original):  # type: ignore[valid-type, misc]
        def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
            super().__init__(config, *args, **kwargs)
            apply(self, changes or {})

    Narrowing.__name__ = Narrowing.__qualname__ = original.__name__
    return Narrowing


def _read_back(model: PreTrainedModel, folder: Path) -> None:
    """Load what was written, on the meta device: what cannot be loaded is not kept.

    Raises:
        CheckpointError: it cannot be loaded, or has other sizes.
    """
    config = type(model.config).from_pretrained(folder)
    fresh = skeleton(type(model), config)
    changes = recorded(config)
    if changes is not None:
        apply(fresh, changes)
    found, wanted = (
        {name: tensor.shape for name, tensor in m.named_parameters(remove_duplicate=False)}
        for m in (fresh, model)
    )
    if found != wanted:
        name = next(n for n in {**wanted, **found} if found.get(n) != wanted.get(n))
        raise CheckpointError(
            f"the model that was written could not be loaded: {name} would be {_size(found.get(name))}, "
            f"and is {_size(wanted.get(name))}",
            "the model was changed in more than sizes, beside its configuration: change that too",
        )


def _size(shape: Any) -> str:
    return "missing" if shape is None else str(tuple(shape))


def _replaceable(target: Path) -> bool:
    """Whether nothing of anybody else's is lost with a folder: it is empty, or prunekit wrote its model."""
    if not target.is_dir():
        return False
    if (target / SHAPES_FILE).is_file() or not any(target.iterdir()):
        return True
    try:
        config = json.loads((target / "config.json").read_text("utf-8"))
        kind, version = config.get("model_type"), config.get("prunekit_version")
    except (OSError, ValueError, AttributeError):
        return False
    return kind in (MultiExitConfig.model_type, SlimConfig.model_type) or isinstance(version, str)


def _write(model: nn.Module, folder: Path, plain: bool) -> None:
    if isinstance(model, PreTrainedModel):
        config = plain_config(model) if plain else None
        record(model)
        model.config.prunekit_version = __version__
        model.save_pretrained(folder)
        if config is not None:
            written = json_object(folder / "config.json")
            config.architectures, config.dtype = written["architectures"], model.dtype
            config.prunekit_version = __version__
            config.save_pretrained(folder)
        _read_back(model, folder)
    elif plain:
        raise CheckpointError(
            f"{type(model).__name__} is not a model of transformers: it has no configuration",
            "save it without plain=True",
        )
    else:
        save_model(model, str(folder / WEIGHTS_FILE))
        shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
        summary = {"class": type(model).__name__, "shapes": shapes, "attributes": counts_of(model)}
        (folder / SHAPES_FILE).write_text(json.dumps(summary, indent=1))


def _load_into(source: Path, into: nn.Module | None) -> nn.Module:
    if into is None:
        recorded = shown(str(json_object(source / SHAPES_FILE).get("class")), keep="")
        raise CheckpointError(
            f"{source} holds a {recorded}, which is not a class of transformers",
            f"give a fresh one to fill: prunekit.load({shown(str(source))!r}, into={recorded}())",
        )
    holders = holders_of(into)
    for name, tensor in load_file(source / WEIGHTS_FILE).items():
        module_name, _, leaf = name.rpartition(".")
        try:
            module = into.get_submodule(module_name)
            old = getattr(module, leaf)
        except AttributeError:
            raise CheckpointError(f"{type(into).__name__} has no {name!r}, which {source} holds") from None
        if old.shape != tensor.shape:
            narrow_parameter(module, leaf, tensor)
            for other, attribute in holders.get(id(old), ()):  # the file names one of those that share it
                setattr(other, attribute, getattr(module, leaf))
                follow(other)
    # Strict, but for tied tensors, of which the file holds one.
    load_model(into, source / WEIGHTS_FILE)
    if (source / SHAPES_FILE).exists():
        apply(into, {"attributes": json_object(source / SHAPES_FILE).get("attributes", {})})
    return into.eval()


def narrow_parameter(module: nn.Module, name: str, value: torch.Tensor) -> None:
    """Put a tensor of another shape in a parameter's or buffer's place; the module's sizes follow."""
    old = getattr(module, name)
    if old.dim() != value.dim() or any(n > o for n, o in zip(value.shape, old.shape, strict=True)):
        raise CheckpointError(
            f"{type(module).__name__}.{name} is {tuple(old.shape)}, the folder holds {tuple(value.shape)}"
        )
    new = value.to(old.device, old.dtype, copy=True)
    if isinstance(old, nn.Parameter):
        new = nn.Parameter(new, requires_grad=old.requires_grad)
    setattr(module, name, new)
    follow(module)
