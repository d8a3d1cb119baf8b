"""What a model gives its layers, seen by running it with layers that do nothing but note it.

So a layer that prunekit runs gets what transformers gives it: masks that differ by layer, positions, biases.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..modes import evaluating

# Keywords of one layer's call, without the hidden states.
Context = dict[str, Any]


class _Recorder(nn.Module):
    """Stands in a layer's place, passes the hidden states on, and notes what else it is given.

    What a layer returns beside the hidden states (nothing, or a tuple with a bias that the next layers take)
    is the first layer's own. It is run for that, the first time and wherever there is such a bias.
    """

    def __init__(self, layer: nn.Module, notes: list[tuple[Tensor, Context]], beside: list[Any]) -> None:
        super().__init__()
        # Not as submodules: they are the model's.
        self.__dict__.update(_layer=layer, _notes=notes, _beside=beside)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_layer"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        names = list(inspect.signature(self._layer.forward).parameters)
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        hidden = given.pop(names[0])
        self._notes.append((hidden, given))
        if not self._beside:
            self._beside.append(
                _BESIDE[type(self._layer)] if type(self._layer) in _BESIDE else self._run(args, kwargs)
            )
        beside = self._beside[0]
        return hidden if beside is None else (hidden, *beside)

    def _run(self, args: Any, kwargs: Any) -> tuple[Any, ...] | None:
        with evaluating(
            self._layer
        ):  # without dropout: training draws the same random numbers as without this
            output = self._layer(*args, **kwargs)
        beside = output[1:] if isinstance(output, tuple) else None
        if not any(isinstance(value, Tensor) for value in beside or ()):
            _BESIDE[type(self._layer)] = beside
        return beside


# Kind of layer -> what it returns beside the hidden states, where that is the same for every input.
_BESIDE: dict[type[nn.Module], tuple[Any, ...] | None] = {}


class _Positioned(nn.Module):
    """Stands in the place of an embedding of positions, which it asks for those it was made with."""

    def __init__(self, table: nn.Module, positions: Tensor) -> None:
        super().__init__()
        self.__dict__.update(_table=table, _positions=positions)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_table"], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        found = self._table(*args, **{**kwargs, "position_ids": self._positions})
        return found.flatten(0, -3)  # some put a dimension before the batch


def recorded_inputs(
    backbone: Any, path: str, inputs: Mapping[str, Any], positions: Tensor | None = None
) -> tuple[Tensor, list[Context]]:
    """The first layer's hidden states ``[B, T, H]``, and for each layer what it takes beside them.

    Args:
        backbone: runs the layers; it is left as it is.
        path: of the list of layers in it.
        inputs: what it is called with; those that are ``None``, or that it does not take, are left out.
        positions: of the tokens, int64 ``[B, T]``; ``None``: the model counts them by itself.
    """
    notes: list[tuple[Tensor, Context]] = []
    layers = backbone.get_submodule(path)
    beside: list[Any] = []
    recorders = nn.ModuleList(_Recorder(layer, notes, beside) for layer in layers)
    shadow = replaced(backbone, path.split("."), recorders)
    if "pooler" in backbone._modules and backbone.pooler is None:  # some call it all the same
        shadow._modules["pooler"] = nn.Identity()
    takes = inspect.signature(backbone.forward).parameters
    given = {name: value for name, value in inputs.items() if value is not None and name in takes}
    if positions is not None and "position_ids" in takes:
        given.setdefault("position_ids", positions)
    elif positions is not None:
        for name, table in backbone.named_modules():
            if "position" in name and "position_ids" in inspect.signature(table.forward).parameters:
                shadow = replaced(shadow, name.split("."), _Positioned(table, positions))
    if "use_cache" in takes or "kwargs" in takes:
        given["use_cache"] = False
    shadow(**given)

    @torch.no_grad()
    def of_one() -> list[Context]:
        first = {key: value[:1] for key, value in inputs.items() if isinstance(value, Tensor)}
        return recorded_inputs(backbone, path, first, None if positions is None else positions[:1])[1]

    return notes[0][0], Contexts((context for _, context in notes), of_one)


def replaced(module: nn.Module, path: Sequence[str], replacement: nn.Module) -> nn.Module:
    """A copy of a module that shares everything with it but what is at ``path``."""
    new = copy.copy(module)
    inner = replacement if len(path) == 1 else replaced(module.get_submodule(path[0]), path[1:], replacement)
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


class Contexts(list[Context]):
    """What every layer takes, and a way to see what it would take of one row alone.

    Args:
        items: the contexts.
        of_one: makes those of one row.
    """

    def __init__(self, items: Iterable[Context], of_one: Callable[[], list[Context]]) -> None:
        super().__init__(items)
        self.of_one = of_one


def select_rows(contexts: Sequence[Context], rows: Tensor, batch_size: int) -> list[Context]:
    """The part of layers' contexts that belongs to some rows of the batch.

    What belongs to rows is as many times as long as it would be for one row alone. Where that is not known,
    it is what has two dimensions or more, and the batch's size first.
    """
    if batch_size == 1:
        return list(contexts)
    of_one = contexts.of_one if isinstance(contexts, Contexts) else lambda: [{}] * len(contexts)
    chosen: dict[int, Any] = {}

    def pick(value: Any, one: Any) -> Any:
        if isinstance(value, Tensor):
            if id(value) not in chosen:  # layers share what they are given
                chosen[id(value)] = _rows_of(value, one, rows, batch_size)
            return chosen[id(value)]
        if isinstance(value, Mapping):
            return {
                key: pick(item, one[key] if isinstance(one, Mapping) else None) for key, item in value.items()
            }
        if isinstance(value, (tuple, list)):
            others = one if isinstance(one, (tuple, list)) else [None] * len(value)
            return type(value)(pick(item, other) for item, other in zip(value, others, strict=True))
        return value

    singles = of_one()
    picked = [
        {key: pick(value, single.get(key)) for key, value in context.items()}
        for context, single in zip(contexts, singles, strict=True)
    ]
    return Contexts(picked, lambda: singles)


def _rows_of(value: Tensor, one: Any, rows: Tensor, batch_size: int) -> Tensor:
    if isinstance(one, Tensor) and one.dim() == value.dim() > 0:
        each = one.shape[0]  # some put the heads of a row side by side
    else:
        each = 1 if value.dim() > 1 else 0
    if each == 0 or value.shape[0] != each * batch_size:
        return value
    return value.unflatten(0, (batch_size, each))[rows].flatten(0, 1)
