"""Optimizers that go on after parameters were cut, and warnings of those that would train nothing.

How the kept positions are known: ``groups.cut``, which nearly all groups use, tells them. A group that cuts
in another way (``channels``, by torch-pruning) says in its slices which positions its units own: those of
units that go are dropped, the rest stays in order. That is believed where the new parameter's values are the
old one's at these positions. Both work whatever is in the parameters, and nothing but the state itself is
copied; following the positions with a tensor of numbers in the place of every parameter would need one more
model in memory, and fails where a group reads the weights it replaces (``rank``).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from .errors import PrunekitError
from .groups import Group, cuts

# A parameter is cut along one dimension after the other.
Cuts = list[tuple[int, Tensor]]
# Of a parameter: its module, and its attribute there.
Place = tuple[nn.Module, str]


def as_list(optimizer: Optimizer | Iterable[Optimizer] | None) -> list[Optimizer]:
    """One optimizer, several, or none, as a list.

    Raises:
        PrunekitError: something that is no optimizer.
    """
    if optimizer is None:
        return []
    found = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)
    for one in found:
        if not isinstance(one, Optimizer):
            raise PrunekitError(
                f"optimizer: {type(one).__name__} is no torch optimizer",
                "give a torch.optim.Optimizer, or a list",
            )
    return found


class Replacements:
    """What takes the place of a model's parameters while its groups are cut.

    Args:
        model: as it is before.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._before = dict(model.named_parameters(remove_duplicate=False))
        self._cuts: dict[Place, Cuts] = {}

    @contextmanager
    def watching(self, group: Group, kept: Tensor) -> Iterator[None]:
        """Learn which positions ``group.keep(kept)``, called in this block, keeps of each parameter."""
        places = _places(group, kept)
        olds = {place: getattr(*place) for place in places}
        told: list[Any] = []
        token = cuts.set(told)
        try:
            yield
        finally:
            cuts.reset(token)
        for piece, positions in told:
            self._cuts.setdefault((piece.module, piece.parameter), []).append((piece.dim, positions))
        for place in places.keys() - {(piece.module, piece.parameter) for piece, _ in told}:
            old, new = olds[place], getattr(*place)
            if new is not old and _is_cut_of(new, old, places[place]):
                self._cuts.setdefault(place, []).extend(places[place])
            elif new is not old:
                self._cuts.pop(place, None)

    def carry(self, optimizers: Sequence[Optimizer]) -> None:
        """Give optimizers the new parameters in the place of the old, with the old ones' state.

        State tensors are cut along the dimensions that they share with the parameter. What cannot be cut
        (quantised state, matrices over pairs of positions) begins anew, with a warning. So does, without
        one, the state of parameters that were computed anew, such as the factors of an embedding.
        """
        successors = self._successors()
        for optimizer in optimizers:
            self._carry(optimizer, successors)

    @property
    def gone(self) -> list[nn.Parameter]:
        """Parameters that are no longer in the model."""
        left = {id(p) for p in self.model.parameters()}
        return [p for p in self._before.values() if id(p) not in left]

    def _successors(self) -> dict[nn.Parameter, dict[str, nn.Parameter]]:
        """What stands where each old parameter stood: by name."""
        after = dict(self.model.named_parameters(remove_duplicate=False))
        found: dict[nn.Parameter, dict[str, nn.Parameter]] = {p: {} for p in self._before.values()}
        for name, new in after.items():
            old = self._before.get(name)
            if old is None:  # a module took the place of another: its parameters, that of the nearest
                lost = [n for n in self._before if n not in after] or list(self._before)
                old = self._before[max(lost, key=lambda n: _shared(n, name))]
            if all(new is not other for other in found[old].values()):
                found[old][name] = new
        return found

    def _carry(self, optimizer: Optimizer, successors: dict[nn.Parameter, dict[str, nn.Parameter]]) -> None:
        changed, failed, began = False, [], bool(optimizer.state)
        for options in optimizer.param_groups:
            parameters: list[nn.Parameter] = []
            names: list[str] = []
            for at, old in enumerate(options["params"]):
                news = successors.get(old, {"": old})
                parameters += news.values()
                own = options["param_names"][at] if "param_names" in options else ""
                names += [own] if len(news) == 1 else list(news)
                if any(new is old for new in news.values()):
                    continue
                changed = True
                state = optimizer.state.pop(old, None)
                for name, new in news.items():
                    if state is None or (steps := self._steps(name, old, new)) is None:
                        continue
                    cut = _cut_state(state, old, steps)
                    if isinstance(cut, str):
                        failed.append(f"{name}: {cut}")
                    else:
                        optimizer.state[new] = cut
            options["params"][:] = parameters
            if "param_names" in options:
                options["param_names"][:] = names
        if changed and isinstance(optimizer, LBFGS):
            # Its vectors run over all parameters together, and lie with the first.
            failed = ["all parameters: its history"] if began else []
            optimizer.state.clear()
            optimizer._numel_cache = None
        if failed:
            more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
            warnings.warn(
                f"{type(optimizer).__name__}: state that could not be cut with its parameters begins anew: "
                f"{failed[0]}{more}",
                stacklevel=5,
            )

    def _steps(self, name: str, old: nn.Parameter, new: nn.Parameter) -> Cuts | None:
        """How a parameter was cut; ``None``: it was not, but made anew."""
        path, _, attribute = name.rpartition(".")
        steps = self._cuts.get((self.model.get_submodule(path), attribute))
        if steps is None:
            return None
        shape = list(old.shape)
        for dim, positions in steps:
            shape[dim] = len(positions)
        return steps if shape == list(new.shape) else None


def _places(group: Group, kept: Tensor) -> dict[Place, Cuts]:
    """By a group's slices: parameter -> the positions that stay without the units that go."""
    away = torch.ones(group.size, dtype=torch.bool)
    away[kept] = False
    lost = away.nonzero().flatten()
    masks: dict[Place, dict[int, Tensor]] = {}
    for piece in group.slices:
        dims = masks.setdefault((piece.module, piece.parameter), {})
        whole = torch.ones(piece.tensor.shape[piece.dim], dtype=torch.bool)
        dims.setdefault(piece.dim % piece.tensor.dim(), whole)[piece.positions(lost)] = False
    return {
        place: [(dim, mask.nonzero().flatten()) for dim, mask in dims.items()]
        for place, dims in masks.items()
    }


def _selected(tensor: Tensor, steps: Cuts) -> Tensor:
    for dim, positions in steps:
        tensor = tensor.index_select(dim, positions.to(tensor.device))
    return tensor


def _is_cut_of(new: Tensor, old: Tensor, steps: Cuts) -> bool:
    expected = _selected(old.detach(), steps)
    same = new.shape == expected.shape and new.dtype == expected.dtype
    return same and bool(torch.allclose(new.detach(), expected, rtol=0, atol=0, equal_nan=True))


def _cut_state(state: dict[str, Any], parameter: nn.Parameter, steps: Cuts) -> dict[str, Any] | str:
    """A parameter's state for what is left of it, or which entry cannot be cut."""
    cut: dict[str, Any] = {}
    for key, value in state.items():
        if value is None or isinstance(value, int | float | complex | str):
            cut[key] = value
        elif not isinstance(value, Tensor):
            return f"{key} is a {type(value).__name__}"
        elif value.dim() == 0 or (value.numel() == 1 and parameter.numel() > 1):
            cut[key] = value.clone()
        else:
            dims = _dims(key, value, parameter)
            if dims is None:
                return f"{key} is {value.dtype} {tuple(value.shape)}, the parameter {tuple(parameter.shape)}"
            own = [(dims[d % parameter.dim()], p) for d, p in steps if d % parameter.dim() in dims]
            cut[key] = _selected(value, own) if own else value.clone()
    return cut


def _dims(key: str, value: Tensor, parameter: Tensor) -> dict[int, int] | None:
    """Dimensions of a parameter that a state tensor has too, and where; ``None`` if it is of another kind.

    Adafactor keeps a matrix's rows and columns: in torch with a dimension of length 1 in the place of the
    other one, in transformers (``exp_avg_sq_row``, ``exp_avg_sq_col``) without it.
    """
    if not (value.is_floating_point() or value.is_complex()):
        return None  # quantised numbers mean something in their blocks alone
    every = range(parameter.dim())
    if value.dim() == parameter.dim():
        pairs = zip(value.shape, parameter.shape, strict=True)
        if not all(have in (1, length) for have, length in pairs):
            return None
        return {d: d for d in every if value.shape[d] == parameter.shape[d]}
    for ending, missing in (("row", parameter.dim() - 1), ("col", parameter.dim() - 2)):
        left = [d for d in every if d != missing]
        if key.endswith(ending) and tuple(value.shape) == tuple(parameter.shape[d] for d in left):
            return {d: i for i, d in enumerate(left)}
    return None


def _shared(one: str, other: str) -> int:
    """How many parts the beginnings of two dotted names share."""
    pairs = list(zip(one.split("."), other.split("."), strict=False))
    return next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))


# Parameters that pruning took out of models, by id, while anything else still holds them.
_gone: WeakValueDictionary[int, nn.Parameter] = WeakValueDictionary()
# Optimizers -> how often parameters had been taken out when they were last looked at; infinite once warned.
_looked: WeakKeyDictionary[Optimizer, float] = WeakKeyDictionary()
_times = 0


def remember(gone: Iterable[nn.Parameter]) -> None:
    """From now on, warn once of every optimizer that takes a step and holds one of these parameters."""
    global _times
    if _times == 0:
        register_optimizer_step_pre_hook(_warn_if_stale)
    _times += 1
    _gone.update({id(p): p for p in gone})


def _warn_if_stale(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    if _looked.get(optimizer, 0) >= _times:
        return
    _looked[optimizer] = _times
    parameters = [p for options in optimizer.param_groups for p in options["params"]]
    stale = sum(_gone.get(id(p)) is p for p in parameters)
    if stale:
        _looked[optimizer] = math.inf
        warnings.warn(
            f"{type(optimizer).__name__}: {stale} of its {len(parameters)} parameters are no longer in the "
            "model: pruning put smaller ones in their place, which it does not train. Make a new optimizer "
            "after step(), or give it to the pruner: step(optimizer=...)",
            stacklevel=3,
        )
