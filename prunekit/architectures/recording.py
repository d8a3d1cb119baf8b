"""What a model gives its layers, seen by running it with layers that do nothing but note it.

So a layer that prunekit runs gets what transformers gives it: masks that differ by layer, positions, biases.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

# Keywords of one layer's call, without the hidden states.
Context = dict[str, Any]


class _Recorder(nn.Module):
    """Stands in a layer's place, passes the hidden states on, and notes what else it is given."""

    def __init__(self, layer: nn.Module, notes: list[tuple[Tensor, Context]], returns_tuple: bool) -> None:
        super().__init__()
        # Not as submodules: they are the model's.
        self.__dict__.update(_layer=layer, _notes=notes, _returns_tuple=returns_tuple)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_layer"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        names = list(inspect.signature(self._layer.forward).parameters)
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        hidden = given.pop(names[0])
        self._notes.append((hidden, given))
        return (hidden, None, None) if self._returns_tuple else hidden


def recorded_inputs(
    backbone: Any, path: str, inputs: Mapping[str, Any], returns_tuple: bool = False
) -> tuple[Tensor, list[Context]]:
    """The first layer's hidden states ``[B, T, H]``, and for each layer what it takes beside them.

    Args:
        backbone: runs the layers; it is left as it is.
        path: of the list of layers in it.
        inputs: what it is called with; those that are ``None``, or that it does not take, are left out.
        returns_tuple: whether its layers return tuples.
    """
    notes: list[tuple[Tensor, Context]] = []
    layers = backbone.get_submodule(path)
    recorders = nn.ModuleList(_Recorder(layer, notes, returns_tuple) for layer in layers)
    shadow = _with(backbone, path.split("."), recorders)
    takes = inspect.signature(backbone.forward).parameters
    given = {name: value for name, value in inputs.items() if value is not None and name in takes}
    if "position_ids" in takes and "position_ids" not in given:
        positions = positions_of(given.get("attention_mask"))
        given |= {} if positions is None else {"position_ids": positions}
    if "use_cache" in takes or "kwargs" in takes:
        given["use_cache"] = False
    shadow(**given)
    return notes[0][0], [context for _, context in notes]


def _with(module: nn.Module, path: Sequence[str], replacement: nn.Module) -> nn.Module:
    """A copy of a module that shares everything with it but what is at ``path``."""
    new = copy.copy(module)
    inner = replacement if len(path) == 1 else _with(module.get_submodule(path[0]), path[1:], replacement)
    new._modules = {**module._modules, path[0]: inner}
    return new


def positions_of(attention_mask: Tensor | None) -> Tensor | None:
    """Positions counted from each row's first token, int64 ``[B, T]``, whichever side is padded.

    Padding before it has position 0. ``None`` where there is no mask: positions are those of the row.
    """
    if attention_mask is None:
        return None
    row = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    return (row - first_token(attention_mask)[:, None]).clamp_min(0)


def first_token(attention_mask: Tensor) -> Tensor:
    """Where each row's first token stands that is no padding, int64 ``[B]``."""
    # Of equal values argmax takes the first.
    return attention_mask.to(torch.int64).argmax(dim=1)


def last_token(attention_mask: Tensor) -> Tensor:
    """Where each row's last token stands that is no padding, int64 ``[B]``."""
    return attention_mask.shape[1] - 1 - first_token(attention_mask.flip(1))


def select_rows(contexts: Sequence[Context], rows: Tensor, batch_size: int) -> list[Context]:
    """The part of layers' contexts that belongs to some rows of the batch."""
    chosen: dict[int, Any] = {}

    def pick(value: Any) -> Any:
        if isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == batch_size and batch_size > 1:
            if id(value) not in chosen:  # layers share what they are given
                chosen[id(value)] = value[rows]
            return chosen[id(value)]
        if isinstance(value, tuple):
            return tuple(pick(item) for item in value)
        return value

    return [{key: pick(value) for key, value in context.items()} for context in contexts]
