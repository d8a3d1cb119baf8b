"""What pruning changed of a model: the sizes that its configuration does not say.

A pruned model has the class, the configuration and the parameter names that it had before; only some of its
sizes differ from those that the configuration builds. These are written beside the rest of ``config.json``::

    "quantization_config": {
        "quant_method": "prunekit",
        "sizes": {"bert.encoder.layer.0.attention.self.query.weight": [16, null], ...},
        "attributes": {"bert.encoder.layer.0.attention.self": {"num_attention_heads": 2, ...}, ...}
    }

``sizes`` has a length for every dimension that was cut, and ``null`` for one that the configuration says,
so that another number of labels or a grown vocabulary still reaches the model. An embedding ``E`` in two
factors is said by ``E.embedding.weight`` and ``E.projection.weight``. ``attributes`` are the numbers that
modules keep of their sizes. ``transformers`` reads a model in this form through the loading method that
:mod:`prunekit.loading` registers; nothing is quantised.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .architectures.blocks import fit_experts
from .architectures.embedding import FactorizedEmbedding, scale_of
from .errors import CheckpointError
from .module_sizes import follow
from .text import shown
from .views import ConfigView

METHOD = "prunekit"
KEY = "quantization_config"
_FACTORS = (".embedding.weight", ".projection.weight")
Record = dict[str, Any]


def record(model: PreTrainedModel) -> Record | None:
    """Write what pruning changed of a model into its configuration, where every way of saving finds it.

    Returns:
        What was written; ``None`` where the configuration says all sizes, and holds no record either.

    Raises:
        CheckpointError: the model differs from its configuration in more than sizes.
    """
    fresh = skeleton(type(model), model.config)
    _untie(model, fresh)
    changes = _changes(model, fresh)
    if changes is not None:
        setattr(model.config, KEY, changes)
    elif recorded(model.config) is not None:
        delattr(model.config, KEY)
    return changes


def recorded(config: Any) -> Record | None:
    """What a configuration says of pruning; ``None`` where it says nothing of it."""
    found = getattr(config, KEY, None)
    if found is not None and not isinstance(found, Mapping):
        found = found.to_dict()
    return dict(found) if found is not None and found.get("quant_method") == METHOD else None


def changes_of(model: PreTrainedModel, config: Any = None) -> Record | None:
    """What differs between a model and what a configuration (default: its own) builds; ``None``: nothing.

    Raises:
        CheckpointError: they differ in more than sizes, or nothing can be built of the configuration.
    """
    return _changes(model, skeleton(type(model), config or model.config))


def _untie(model: nn.Module, fresh: nn.Module) -> None:
    """Give parameters that the model shares, and its configuration does not, copies of their own.

    Files hold what is shared once, so that the other would be missing.
    """
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    built = dict(fresh.named_parameters(remove_duplicate=False))
    for first, *others in names.values():
        for name in others:
            if first in built and name in built and built[first] is not built[name]:
                path, _, leaf = name.rpartition(".")
                shared = model.get_parameter(name)
                own = nn.Parameter(shared.detach().clone(), shared.requires_grad)
                setattr(model.get_submodule(path), leaf, own)


def _changes(model: nn.Module, fresh: nn.Module) -> Record | None:
    """What differs between a model and what its configuration builds; ``None``: nothing.

    Raises:
        CheckpointError: they differ in more than sizes.
    """
    built = dict(_tensors(fresh))
    sizes: dict[str, list[int | None]] = {}
    for name, tensor in _tensors(model):
        before = built.get(name)
        if before is not None:
            if before.shape != tensor.shape:
                sizes[name] = _differences(name, before.shape, tensor.shape)
        elif name.endswith(_FACTORS) and _owner(name) + ".weight" in built:
            sizes[name] = [None, tensor.shape[1]]
    _apply_sizes(fresh, sizes)
    attributes = _attributes(model, fresh)
    if not sizes and not attributes:
        return None
    return {"quant_method": METHOD, "sizes": sizes, "attributes": attributes}


def skeleton(kind: type[PreTrainedModel], config: Any) -> PreTrainedModel:
    """What a configuration builds, without what was pruned of it and without weights (the meta device).

    Raises:
        CheckpointError: nothing can be built of it.
    """
    plain = copy.deepcopy(config)
    if recorded(plain) is not None:
        delattr(plain, KEY)
    try:
        with torch.device("meta"):
            return kind(plain)
    except Exception as error:
        raise CheckpointError(
            f"{kind.__name__} cannot be built from its configuration: {type(error).__name__}: {error}",
            "prunekit.save compares a pruned model with what its class builds: the constructor must take the "
            "configuration alone",
        ) from error


def apply(model: nn.Module, changes: Mapping[str, Any]) -> None:
    """Give a fresh model the recorded sizes, in place. What was done already is left as it is.

    Names are those of the model that was saved; a model of another task, with or without the backbone's
    prefix, takes what it has.

    Args:
        model: as its configuration builds it, on any device.
        changes: see the module.

    Raises:
        CheckpointError: the record is damaged, or is not of a model like this one.
    """
    sizes, attributes = _checked(changes)
    prefix = getattr(model, "base_model_prefix", "")
    modules = dict(model.named_modules())
    names = {name for name, _ in _tensors(model)}
    found = {}
    for name, size in sizes.items():
        for known in _spellings(name, prefix):
            factor = known.endswith(_FACTORS) and isinstance(modules.get(_owner(known)), nn.Embedding)
            if known in names or factor:
                found[known] = size
                break
    if sizes and not found:
        raise CheckpointError(
            f"config.json: none of the recorded sizes is of a {type(model).__name__}",
            "load the folder with the class that it was saved from, or another of the same family",
        )
    _apply_sizes(model, found)
    for path, values in attributes.items():
        module = next((modules[p] for p in _spellings(path, prefix) if p in modules), None)
        if module is not None:
            for key, value in values.items():
                _set_attribute(module, path, key, value)
    for module in model.modules():
        fit_experts(module)


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _differences(name: str, before: torch.Size, after: torch.Size) -> list[int | None]:
    if len(before) != len(after) or any(n > b for b, n in zip(before, after, strict=True)):
        raise CheckpointError(
            f"{name} is {tuple(after)}, and the model's configuration builds {tuple(before)}",
            "change the configuration together with the model (e.g. model.resize_token_embeddings), so that "
            "it builds at least these sizes",
        )
    return [None if n == b else n for b, n in zip(before, after, strict=True)]


def _owner(name: str) -> str:
    """The embedding that a factor's name belongs to."""
    return name.rpartition(".")[0].rpartition(".")[0]


def _spellings(name: str, prefix: str) -> list[str]:
    """A name as it is, without and with the backbone's prefix."""
    if not prefix:
        return [name]
    inside = name.removeprefix(prefix + ".")
    return [name, inside, f"{prefix}.{name}"]


def _apply_sizes(model: nn.Module, sizes: Mapping[str, list[int | None]]) -> None:
    modules = dict(model.named_modules())
    for name, size in sizes.items():
        path, _, leaf = name.rpartition(".")
        owner = modules.get(_owner(name)) if name.endswith(_FACTORS) else None
        if isinstance(owner, nn.Embedding):
            _factorise(model, _owner(name), owner, size)
        elif not isinstance(owner, FactorizedEmbedding):
            _narrow(modules[path], leaf, name, size)


def _factorise(model: nn.Module, path: str, words: nn.Embedding, size: list[int | None]) -> None:
    parent, _, attribute = path.rpartition(".")
    holder = model.get_submodule(parent)
    if isinstance(getattr(holder, attribute), FactorizedEmbedding):
        return
    rank = size[1]
    most = min(words.weight.shape)
    if rank is None or rank > most:
        raise CheckpointError(f"config.json: {path} cannot have rank {rank}: give 1 to {most}")
    with torch.device(words.weight.device):
        new = FactorizedEmbedding(
            words.num_embeddings, rank, words.embedding_dim, words.padding_idx, scale_of(words)
        )
    setattr(holder, attribute, new.to(words.weight.dtype))


def _narrow(module: nn.Module, leaf: str, name: str, size: list[int | None]) -> None:
    """The first positions of every dimension that is cut, in place of the tensor."""
    old = getattr(module, leaf)
    if len(size) != old.dim() or any(n is not None and n > o for n, o in zip(size, old.shape, strict=True)):
        raise CheckpointError(
            f"config.json: the recorded size of {name} is {size}, and the model has {tuple(old.shape)}",
            "the record is of another model: copy the folder again",
        )
    if all(n is None or n == o for n, o in zip(size, old.shape, strict=True)):
        return
    part = old.detach()[tuple(slice(n) for n in size)].clone()
    setattr(module, leaf, nn.Parameter(part, old.requires_grad) if isinstance(old, nn.Parameter) else part)
    follow(module)


def _attributes(model: nn.Module, fresh: nn.Module) -> dict[str, dict[str, int]]:
    """Numbers that modules keep, where they are others than in the fresh model once that is narrowed."""
    others = dict(fresh.named_modules())
    found: dict[str, dict[str, int]] = {}
    for path, module in model.named_modules():
        if path not in others or type(others[path]) is not type(module):
            continue
        before = vars(others[path])
        changed = {
            key: value
            for key, value in vars(module).items()
            if _is_count(key, value) and _is_count(key, before.get(key)) and before[key] != value
        }
        view = vars(module).get("config")
        if isinstance(view, ConfigView):
            others_config = others[path].config
            changed |= {
                f"config.{key}": value
                for key, value in view.overrides.items()
                if getattr(others_config, key) != value
            }
        if changed:
            found[path] = changed
    return found


def counts_of(model: nn.Module) -> dict[str, dict[str, int]]:
    """Whole numbers that modules of a model's own classes keep, by path and name.

    Numbers of heads may be among them, and there is no configuration to compare them with.
    """
    found = {
        path: {key: value for key, value in vars(module).items() if _is_count(key, value)}
        for path, module in model.named_modules()
        if not type(module).__module__.startswith("torch.")
    }
    return {path: counts for path, counts in found.items() if counts}


def _is_count(key: str, value: Any) -> bool:
    return not key.startswith("_") and type(value) is int


def _set_attribute(module: nn.Module, path: str, key: str, value: int) -> None:
    if key.startswith("config."):
        ConfigView.of(module).overrides[key.removeprefix("config.")] = value
    elif _is_count(key, vars(module).get(key)):
        setattr(module, key, value)
    else:
        raise CheckpointError(
            f"config.json: {shown(path)} has no number {shown(key)} that could be set",
            "the record is damaged, or of another version of the model: copy the folder again",
        )


def _checked(changes: Mapping[str, Any]) -> tuple[dict[str, list[int | None]], dict[str, dict[str, int]]]:
    """The two parts of a record, which may come from a file of anybody's."""
    sizes, attributes = changes.get("sizes", {}), changes.get("attributes", {})
    if not isinstance(sizes, Mapping) or not all(
        isinstance(size, list) and all(n is None or (type(n) is int and n >= 1) for n in size)
        for size in sizes.values()
    ):
        raise _damaged("sizes", "a list of lengths, or null, for every parameter")
    if not isinstance(attributes, Mapping) or not all(
        isinstance(values, Mapping) and all(type(n) is int and n >= 0 for n in values.values())
        for values in attributes.values()
    ):
        raise _damaged("attributes", "whole numbers by module and attribute")
    return dict(sizes), {path: dict(values) for path, values in attributes.items()}


def _damaged(key: str, expected: str) -> CheckpointError:
    return CheckpointError(
        f"config.json: {KEY}.{key} is damaged: {expected} was expected", "copy the model folder again"
    )
