"""Pruned models that a plain configuration can say: all layers alike, the width of a head written down."""

from __future__ import annotations

import copy
from typing import Any

from transformers import PretrainedConfig, PreTrainedModel

from .architectures import Place, architecture_of, backbone_of
from .errors import CheckpointError
from .sizes import KEY, changes_of, recorded, skeleton

QUERIES = ("num_attention_heads", "num_heads", "n_head", "n_heads", "attention_heads")
KEYS = ("num_key_value_heads", "num_kv_heads")
NEURONS = ("intermediate_size", "ffn_dim", "d_ff", "n_inner", "hidden_dim", "ffn_hidden_size")
EXPERTS = ("moe_intermediate_size", "shared_expert_intermediate_size")


def plain_config(model: PreTrainedModel) -> PretrainedConfig:
    """A configuration that builds a pruned model without prunekit, and that other programs read.

    Raises:
        CheckpointError: there is none; it says which size stands in the way.
    """
    config = copy.deepcopy(model.config)
    if recorded(config) is not None:
        delattr(config, KEY)
    before = _sizes(skeleton(type(model), config))
    for (stack, part), sizes in _sizes(model).items():
        if len(set(sizes)) > 1:
            unit = "heads" if sizes[0][2] else "neurons"
            counts = ", ".join(str(count) for count in sorted({count for count, *_ in sizes}))
            raise _cannot(f"{stack} has layers of {counts} {unit}, and a configuration has one number")
        old = before[stack, part][0]
        _write(config, stack, old, sizes[0])
    try:
        rest = changes_of(model, config)
    except CheckpointError as error:
        raise _cannot(error.message) from error
    if rest is not None:
        name, size = next(iter({**rest["sizes"], **rest["attributes"]}.items()))
        raise _cannot(f"{name} is {size} (null: as the configuration says), which no setting of it gives")
    return config


def _sizes(model: PreTrainedModel) -> dict[tuple[str, str], list[tuple[int, int, int]]]:
    """By stack and part of a layer: for every layer query heads, key/value heads and width, or neurons."""
    found: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    backbone = backbone_of(model)
    for place in architecture_of(model).places(backbone):
        found.setdefault((place.stack, _part(place)), []).append(_size(place))
    return found


def _part(place: Place) -> str:
    return f"{place.block.kind} {place.block.path}" if place.layer is not None else place.name


def _size(place: Place) -> tuple[int, int, int]:
    block = place.block
    if block.kind == "ffn":
        return block.size, 0, 0
    return block.size * block.queries, block.size * block.keys or 1, block.head_dim


def _write(config: Any, stack: str, old: tuple[int, int, int], new: tuple[int, int, int]) -> None:
    """Set what a configuration calls these sizes, where it has what is expected of them."""
    if old == new:
        return
    side = stack.partition(".")[0]
    every = [config, *(getattr(config, name) for name in config.sub_configs)]
    owners = [c for c in every if isinstance(c, PretrainedConfig)]
    heads = bool(new[2])
    names = dict.fromkeys(QUERIES if heads else (*NEURONS, *EXPERTS), (old[0], new[0]))
    if heads:
        names |= dict.fromkeys(KEYS, (old[1], new[1]))
    for owner in owners:
        for name, (was, now) in names.items():
            for key in (name, f"{side}_{name}"):
                if getattr(owner, key, None) == was:
                    setattr(owner, key, now)
        computed = isinstance(getattr(type(owner), "head_dim", None), property)
        if heads and owner.get_text_config() is owner and "d_kv" not in owner.to_dict() and not computed:
            owner.head_dim = new[2]  # many families read it; where one does not, the sizes show it


def _cannot(reason: str) -> CheckpointError:
    return CheckpointError(
        f"a plain configuration cannot say the sizes of this model: {reason}",
        "save it without plain=True, or prune all layers alike: budget={'name': 'sizes', ...}",
    )
