"""Groups of interchangeable units, and how they are cut out of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn

from .errors import PrunekitError, UnsupportedModelError
from .module_sizes import follow

# Tells `prunekit.optimizers` what groups cut: slices, and the positions along their dimension that they keep.
cuts: ContextVar[list[tuple[Slice, Tensor]] | None] = ContextVar("cuts", default=None)


@dataclass(frozen=True)
class Gate:
    """Where the activations of a group's units can be seen.

    Unit ``u`` owns positions ``[u * width, (u + 1) * width)`` of dimension ``dim`` of the first input, or
    the output, of ``module``, and the units have the whole dimension. A multiplication of these activations
    by one factor a unit, equal to 1, is the gate whose derivative is the first-order Taylor importance.
    Where units lie otherwise, or have only a part of the dimension, unit ``u`` owns ``index[u]`` instead
    (int64 ``[size, width]``, which then says what ``width`` is). Gates of several groups at one place give
    ``dim`` alike.
    """

    module: nn.Module
    side: Literal["input", "output"] = "input"
    dim: int = -1
    width: int = 1
    index: Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _set_width(self)

    @property
    def place(self) -> _Place:
        """Which activations: what gates of one place have in common."""
        return self.module, f"{self.side} activations", self.dim

    def places(self, size: int) -> Tensor:
        """Positions of all ``size`` units: int64 ``[size, width]``."""
        return _places(self, size)


@dataclass(frozen=True)
class Slice:
    """Positions of a dimension of a parameter that a group's units own; nobody may own the others.

    Unit ``u`` owns positions ``[u * width, (u + 1) * width)`` of dimension ``dim``, or, where units lie
    otherwise, ``index[u]`` (int64 ``[size, width]``, which then says what ``width`` is).
    """

    module: nn.Module
    parameter: str
    dim: int
    width: int = 1
    index: Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _set_width(self)

    @property
    def tensor(self) -> Tensor:
        """The parameter as it is now."""
        return getattr(self.module, self.parameter)

    @property
    def place(self) -> _Place:
        """Which dimension of what: what slices of one place have in common."""
        return self.module, self.parameter, self.dim % self.tensor.dim()

    @property
    def length(self) -> int:
        """Positions that the dimension has now."""
        return self.tensor.shape[self.dim]

    def places(self, size: int) -> Tensor:
        """Positions of all ``size`` units: int64 ``[size, width]``."""
        return _places(self, size)

    def positions(self, units: Tensor) -> Tensor:
        """Positions along ``dim`` of the given units, unit by unit: int64 ``[len(units) * width]``."""
        if self.index is not None:
            return self.index.to(units.device)[units].flatten()
        return (units[:, None] * self.width + torch.arange(self.width, device=units.device)).flatten()

    def per_unit(self, values: Tensor, size: int) -> Tensor:
        """Sum a tensor of the parameter's shape over everything but the units: ``[size]``."""
        rows = values.movedim(self.dim, 0)
        rows = rows.index_select(0, self.places(size).flatten().to(rows.device))
        return rows.reshape(size, -1).sum(dim=1)


def _set_width(owned: Gate | Slice) -> None:
    if owned.index is not None:
        object.__setattr__(owned, "width", owned.index.shape[1])


def _places(owned: Gate | Slice, size: int) -> Tensor:
    if owned.index is not None:
        return owned.index
    return torch.arange(size * owned.width, device="cpu").reshape(size, owned.width)


class Group(ABC):
    """The interchangeable units of one place of a model.

    Attributes:
        name: unique in the model, e.g. ``"layers.3.heads"``.
        granularity: the registered name of the granularity that found it.
        layer: index of the layer (0-based), or ``None`` for what the layers share.
        size: units there are now.
        initial_size: units there were before pruning began.
        whole: the size at which the units lie in one matrix, where fewer of them take two, which may cost
            more (the rank of an embedding); ``None``: every unit costs the same, at any size.
        ordered: the units rank themselves (singular values), and only the first ones can be kept.
        gates: where the units' activations can be seen.
        slices: what parameters the units own. Slices of one dimension of one tensor are merged to one: the
            halves of a fused matrix, or a matrix that two modules share.
    """

    ordered: bool = False
    whole: int | None = None

    def __init__(
        self,
        name: str,
        granularity: str,
        size: int,
        *,
        layer: int | None = None,
        gates: Sequence[Gate] = (),
        slices: Sequence[Slice] = (),
    ) -> None:
        self.name = name
        self.granularity = granularity
        self.layer = layer
        self.size = size
        self.initial_size = size
        self.gates = tuple(gates)
        self.slices = _merged(slices, size)

    @abstractmethod
    def keep(self, indices: Tensor) -> None:
        """Slim in place to the units at ``indices`` (ascending int64, none twice, at least one)."""

    def intrinsic_importance(self) -> Tensor | None:
        """Importance the units have by themselves, float ``[size]``; ``None`` where a scorer decides."""
        return None

    @property
    def replaces(self) -> tuple[nn.Module, ...]:
        """Modules that :meth:`keep` puts others in the place of, so that no other group can own theirs."""
        return ()

    @property
    def unit_parameters(self) -> int:
        """Parameters that one unit owns, at the present sizes of all groups."""
        return sum(s.tensor.numel() // s.tensor.shape[s.dim] * s.width for s in self.slices)

    def checked(self, indices: Tensor) -> Tensor:
        """``indices`` as a valid keep-set, or ``ValueError`` saying what is wrong with it."""
        indices = torch.as_tensor(indices, dtype=torch.int64).cpu().flatten()
        if indices.numel() == 0:
            raise ValueError(f"{self.name}: a group keeps at least one of its {self.size} units")
        if int(indices.min()) < 0 or int(indices.max()) >= self.size:
            raise ValueError(f"{self.name}: keep-set {indices.tolist()} is outside 0..{self.size - 1}")
        if not bool((indices[1:] > indices[:-1]).all()):
            raise ValueError(f"{self.name}: keep-set must be ascending, without repeats")
        if self.ordered and int(indices[-1]) != indices.numel() - 1:
            raise ValueError(f"{self.name}: its units are ordered, so only the first ones can be kept")
        return indices

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, size={self.size}/{self.initial_size})"


class SlicedGroup(Group):
    """A group whose units are rows and columns of parameters: keeping is deleting the others' positions.

    What stays, stays in its order. Groups may own parts of one dimension side by side: when one is slimmed,
    the positions of the others move along, in all groups of this class that are alive.

    All that a group knows of the model is in ``size``, ``slices``, ``gates``, ``followers`` and its other
    attributes, which are replaced and never changed in place. To go back, put back ``vars(group)`` of all
    groups and, in the modules, parameters, buffers and sizes.

    Example: the heads of a layer own rows of Q, K and V and columns of the output matrix.

    Args:
        followers: positions of buffers that go with the units (running statistics): no scorer reads them,
            and no cost counts them.
    """

    def __init__(
        self,
        name: str,
        granularity: str,
        size: int,
        *,
        layer: int | None = None,
        gates: Sequence[Gate] = (),
        slices: Sequence[Slice] = (),
        followers: Sequence[Slice] = (),
    ) -> None:
        super().__init__(name, granularity, size, layer=layer, gates=gates, slices=slices)
        self.followers = _merged(followers, size)
        # Whoever holds a tensor that is cut: after merging, a slice names one of them.
        self._holders = tuple(dict.fromkeys((s.module, s.parameter) for s in (*slices, *followers)))
        self._lengths = self._measured()
        self._register()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._register()

    def keep(self, indices: Tensor) -> None:
        """As in :class:`Group`; all tensors are made before the first takes its place.

        Raises:
            UnsupportedModelError: the model is not as the group knows it: something else removed what it
                owns. Nothing was changed.
        """
        indices = self.checked(indices)
        if self._measured() != self._lengths:
            raise UnsupportedModelError(
                f"{self.name}: the parameters of its units have other sizes than when it was found",
                "something else changed the model: find the groups again",
            )
        if indices.numel() == self.size:
            return
        gone = self._removed(indices)
        replaced = self._cut(gone)
        for module, parameter in self._holders:
            setattr(module, parameter, replaced[id(getattr(module, parameter))])
        for module, _ in self._holders:
            follow(module)
        for group in {g for module, *_ in gone for g in _SLICED.get(module, ())} - {self}:
            group._move(gone)
        self.size = indices.numel()
        self._relocate(gone, indices)

    def _removed(self, kept: Tensor) -> _Gone:
        """Positions that go with the units that are not kept, ascending, wherever the group owns some."""
        units = torch.ones(self.size, dtype=torch.bool, device="cpu")
        units[kept] = False
        found = {}
        for owned in self._owned():
            positions = owned.places(self.size)[units].flatten().sort().values
            places = [owned.place]
            if isinstance(owned, Slice):
                # Shared tensors are cut wherever they are held.
                places = [
                    replace(owned, module=m, parameter=p).place
                    for m, p in self._holders
                    if getattr(m, p) is owned.tensor
                ]
            found.update(dict.fromkeys(places, positions))
        return found

    def _cut(self, gone: _Gone) -> dict[int, Tensor]:
        """What takes the place of each tensor, by the old one's identity."""
        values: dict[int, Tensor] = {}
        for piece in (*self.slices, *self.followers):
            old = piece.tensor
            stays = torch.ones(piece.length, dtype=torch.bool, device="cpu")
            stays[gone[piece.place]] = False
            value, positions = values.get(id(old), old.detach()), stays.nonzero().flatten()
            values[id(old)] = value.index_select(piece.dim, positions.to(old.device))
            noted = cuts.get()
            if noted is not None:
                holders = [(m, p) for m, p in self._holders if getattr(m, p) is old]
                noted += [(replace(piece, module=m, parameter=p), positions) for m, p in holders]
        for piece in (*self.slices, *self.followers):
            old = piece.tensor
            if isinstance(old, nn.Parameter) and not isinstance(values[id(old)], nn.Parameter):
                values[id(old)] = nn.Parameter(values[id(old)], requires_grad=old.requires_grad)
        return values

    def _move(self, gone: _Gone) -> None:
        """Another group took positions away. If they were this one's too, ``keep`` will find it out."""
        if any(o.place in gone and _share(o.places(self.size), gone[o.place]) for o in self._owned()):
            return
        self._relocate(gone)

    def _relocate(self, gone: _Gone, kept: Tensor | None = None) -> None:
        """Where the units lie after positions left; of the units, those at ``kept`` are left."""
        self.slices = tuple(_relocated(s, gone, kept) for s in self.slices)
        self.followers = tuple(_relocated(s, gone, kept) for s in self.followers)
        self.gates = tuple(_relocated(g, gone, kept) for g in self.gates)
        self._lengths = self._measured()

    def _owned(self) -> tuple[Gate | Slice, ...]:
        return (*self.slices, *self.followers, *self.gates)

    def _measured(self) -> list[int]:
        return [piece.length for piece in (*self.slices, *self.followers)]

    def _register(self) -> None:
        for owned in self._owned():
            _SLICED.setdefault(owned.module, WeakSet()).add(self)


# A module, what of it (a parameter, or activations), and its dimension -> positions that were removed.
_Place = tuple[nn.Module, str, int]
_Gone = dict[_Place, Tensor]

# Which groups' positions lie in a module: they move when one of them is slimmed.
_SLICED: WeakKeyDictionary[nn.Module, WeakSet[SlicedGroup]] = WeakKeyDictionary()

_Owned = TypeVar("_Owned", Gate, Slice)


def _relocated(owned: _Owned, gone: _Gone, kept: Tensor | None) -> _Owned:
    if owned.index is None:  # they come first, and still do
        return owned
    index = owned.index.cpu() if kept is None else owned.index.cpu()[kept]
    if owned.place in gone:
        index = index - torch.searchsorted(gone[owned.place], index.contiguous())
    return replace(owned, index=index)


def _share(places: Tensor, positions: Tensor) -> bool:
    return bool(torch.isin(places.cpu(), positions).any())


def _merged(slices: Iterable[Slice], size: int) -> tuple[Slice, ...]:
    """One slice for each dimension of each tensor."""
    alike: dict[tuple[int, int], list[Slice]] = {}
    for piece in slices:
        alike.setdefault((id(piece.tensor), piece.dim % piece.tensor.dim()), []).append(piece)
    return tuple(_merge(pieces, size) for pieces in alike.values())


def _merge(pieces: Sequence[Slice], size: int) -> Slice:
    every = [piece.places(size).cpu() for piece in pieces]
    if all(torch.equal(places, every[0]) for places in every):
        return pieces[0]
    rows = [row.unique() for row in torch.cat(every, dim=1)]
    if len({len(row) for row in rows}) > 1:
        raise ValueError(
            f"slices of {type(pieces[0].module).__name__}.{pieces[0].parameter} give units unlike numbers of "
            f"positions in dimension {pieces[0].dim}"
        )
    return replace(pieces[0], index=torch.stack(rows))


def overlaps(groups: Sequence[Group]) -> Iterator[tuple[Group, Group, str]]:
    """Pairs of groups, the earlier one first, that own the same positions, and the parameter, in words."""
    owners: dict[tuple[int, int], list[tuple[Group, Tensor]]] = {}
    for group in groups:
        owned = [
            (piece.module, piece.parameter, piece.dim, piece.places(group.size)) for piece in group.slices
        ]
        for module in (m for replaced in group.replaces for m in replaced.modules()):
            for name, parameter in module.named_parameters(recurse=False):
                owned += [
                    (module, name, dim, torch.arange(length, device="cpu"))
                    for dim, length in enumerate(parameter.shape)
                ]
        met: set[int] = set()
        for module, name, dim, places in owned:
            tensor = getattr(module, name)
            key = id(tensor), dim % tensor.dim()
            for other, theirs in owners.get(key, ()):
                if other is not group and id(other) not in met and _share(theirs, places.cpu()):
                    met.add(id(other))
                    yield (
                        other,
                        group,
                        f"{type(module).__name__}.{name} {tuple(tensor.shape)}, dimension {dim}",
                    )
            owners.setdefault(key, []).append((group, places))


def holders_of(model: nn.Module) -> dict[int, list[tuple[nn.Module, str]]]:
    """Who holds each parameter: its identity -> (module, attribute), several where modules share it."""
    found: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            found.setdefault(id(parameter), []).append((module, name))
    return found


def check_groups(model: nn.Module, groups: Sequence[Group]) -> None:
    """Refuse groups that cannot be slimmed independently, or would tear a shared parameter apart.

    Raises:
        PrunekitError: two groups own the same positions of a parameter.
        UnsupportedModelError: a group owns a parameter that a module outside the group shares.
    """
    for one, other, what in overlaps(groups):
        raise PrunekitError(
            f"{one.name} and {other.name} both own positions of {what}",
            f"leave the granularity {one.granularity} or {other.granularity} out",
        )
    holders = holders_of(model)
    names = {module: name for name, module in model.named_modules()}
    for group in groups:
        if isinstance(group, SlicedGroup):
            for piece in group.slices:
                for module, parameter in holders.get(id(piece.tensor), ()):
                    if (module, parameter) not in group._holders:
                        raise UnsupportedModelError(
                            f"{group.name}: {type(piece.module).__name__}.{piece.parameter} is one parameter "
                            f"with {names[module]}.{parameter}, which the group does not own",
                            "untie the two first, or leave the group out",
                        )
