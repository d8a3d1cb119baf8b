"""A model's dependency graph, read as parts whose channels can be removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from ..dependency_graph import UNTRACED, opaque, pieces, positions
from ..groups import Gate, Slice, holders_of


@dataclass(frozen=True)
class Part:
    """Channels that leave together, unit by unit.

    Attributes:
        name: of the layer at the root.
        size: units there are.
        slices: parameters that they own.
        followers: buffers that go along.
        gates: inputs of all layers that read them.
    """

    name: str
    size: int
    slices: tuple[Slice, ...]
    followers: tuple[Slice, ...]
    gates: tuple[Gate, ...]

    def moved(self, modules: Mapping[nn.Module, nn.Module]) -> Part:
        """The same part of a copy of the model: its module for each of this one's."""
        slices, followers = (
            tuple(replace(s, module=modules[s.module]) for s in those)
            for those in (self.slices, self.followers)
        )
        gates = tuple(replace(g, module=modules[g.module]) for g in self.gates)
        return Part(self.name, self.size, slices, followers, gates)


@dataclass(frozen=True)
class Excluded:
    """Channels that must stay, and why."""

    name: str
    reason: str


class ChannelGraph:
    """torch-pruning's dependency graph of a model, which is only read: nothing is cut through it.

    Args:
        model: traced in evaluation mode, in which it is left; all its parameters require gradients.
        example_inputs: arguments of one forward call.
    """

    def __init__(self, model: nn.Module, example_inputs: Any) -> None:
        self.model = model
        self._outputs: set[Any] = set()
        self._holders = holders_of(model)
        self._names = {module: name for name, module in model.named_modules()}
        self._graph = tp.DependencyGraph().build_dependency(
            model, example_inputs, forward_fn=call, output_transform=self._record, verbose=False
        )

    def parts(self, ignored: Sequence[str] = ()) -> Iterator[Part | Excluded]:
        """Output channels of all convolutions and linear layers, each once, in the order of the modules.

        What is coupled is named after its first layer; outputs of ``ignored`` modules stay.
        """
        modules = dict(self.model.named_modules())
        keep = {modules[name] for name in ignored}
        seen: set[nn.Module] = set()
        for name, module in modules.items():
            if isinstance(module, UNTRACED):
                yield Excluded(name or "model", f"channels of {type(module).__name__} cannot be traced")
            if not isinstance(module, (tp.ops.TORCH_CONV, tp.ops.TORCH_LINEAR)):
                continue
            if module in seen or module not in self._graph.module2node:
                continue
            try:
                group = self._group(module)
                found = self._read(name or "model", group, keep)
            except Exception as error:
                yield Excluded(
                    name or "model", f"torch-pruning cannot follow them ({type(error).__name__}: {error})"
                )
                continue
            out = self._graph.is_out_channel_pruning_fn
            seen.update(dep.target.module for dep, _ in group if out(dep.handler))
            yield found

    def _group(self, module: nn.Module) -> Any:
        """torch-pruning's group of all output channels of a layer."""
        prune = self._graph.get_pruner_of_module(module).prune_out_channels
        return self._graph.get_pruning_group(module, prune, list(range(self._graph.get_out_channels(module))))

    def _read(self, name: str, group: Any, keep: set[nn.Module]) -> Part | Excluded:
        reason = self._obstacle(group, keep)
        if reason is not None:
            return Excluded(name, reason)
        units = self._units(group)
        if isinstance(units, str):
            return Excluded(name, units)
        if units.shape[0] == 1:
            return Excluded(name, "there is only one")
        return self._part(name, group, units)

    def _part(self, name: str, group: Any, units: Tensor) -> Part | Excluded:
        slices, followers, gates = [], [], []
        for piece in pieces(group):
            index = _owned(piece.places, piece.channels, units)
            slices.append(Slice(piece.module, piece.parameter, piece.dim, index=index))
            if piece.role == "consumer":
                index = _owned(piece.positions, piece.channels, units)
                gates.append(Gate(piece.module, "input", _channel_dim(piece.module), index=index))
        for item in group:
            module = item.dep.target.module
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
                index = _owned(*positions(item), units)
                followers += [Slice(module, key, 0, index=index) for key in ("running_mean", "running_var")]
        torn = self._torn(slices, units.shape[0])
        if torn is not None:
            return Excluded(name, torn)
        return Part(name, units.shape[0], tuple(slices), tuple(followers), tuple(gates))

    def _torn(self, slices: Sequence[Slice], size: int) -> str | None:
        """Why the channels must stay where modules share a parameter, and use it in unlike ways."""
        for piece in slices:
            for module, parameter in self._holders.get(id(piece.tensor), ()):
                twin = replace(piece, module=module, parameter=parameter)
                if not any(
                    other.place == twin.place and torch.equal(other.places(size), twin.places(size))
                    for other in slices
                ):
                    mine, theirs = self._names[piece.module], self._names[module]
                    return (
                        f"{mine}.{piece.parameter} is one parameter with {theirs}.{parameter}, "
                        "which does not share these channels"
                    )
        return None

    def _record(self, output: Any) -> list[Tensor]:
        tensors = [t for t in tensors_of(output) if t.grad_fn is not None]
        if not tensors:
            raise ValueError("the model returns no tensor that depends on its parameters")
        self._outputs = {t.grad_fn for t in tensors}
        return tensors

    def _obstacle(self, group: Any, keep: set[nn.Module]) -> str | None:
        """Why the channels of a torch-pruning group must stay."""
        for dep, _ in group:
            if not self._graph.is_out_channel_pruning_fn(dep.handler):
                continue
            if dep.target.grad_fn is not None and dep.target.grad_fn in self._outputs:
                return "the model returns them"
            if dep.target.module in keep:
                return f"{self._graph._module2name[dep.target.module]} is ignored"
        for piece in pieces(group):
            if piece.role == "consumer" and int(piece.positions.max()) >= _inputs(piece.module):
                return f"{self._names[piece.module]} reads them in an order that cannot be traced"
        unknown = opaque(group)
        return f"they reach {unknown[0]}" if unknown else None

    def _units(self, group: Any) -> Tensor | str:
        """Channels of each unit, ``[size, k]``, or why there are no like units."""
        channels = [int(i) for i in group[0].idxs]
        links = _Links(channels)
        if not self._independent(group, channels):
            for channel in channels:
                links.join(self._closure(group, [channel]))
        for item in group:
            blocks = _blocks(item.dep.target.module)
            if blocks > 1:
                length = self._graph.get_out_channels(item.dep.target)
                if self._graph.is_in_channel_pruning_fn(item.dep.handler):
                    length = self._graph.get_in_channels(item.dep.target)
                if len(item.idxs) != length:
                    return f"{item.dep.target.name} mixes them with others, in blocks"
                root_of = dict(zip(item.idxs, item.root_idxs, strict=True))
                for position, channel in root_of.items():
                    links.join([channel, root_of[position % (length // blocks)]])
        units = links.classes()
        if len({len(u) for u in units}) > 1:
            return "some are coupled to others and some are not"
        table = torch.tensor(units, dtype=torch.int64)
        for piece in pieces(group):
            if _owned(piece.places, piece.channels, table).numel() == 0:
                return f"{piece.label} has a different share in each"
        return table

    def _independent(self, group: Any, channels: Sequence[int]) -> bool:
        """Whether each channel can leave alone.

        Of any two channels that are coupled, one is in the set of those with some bit set and the other is
        not: 2 log2(n) look-ups in place of n.
        """
        for bit in range(max(channels).bit_length()):
            for value in (0, 1):
                chosen = [c for c in channels if (c >> bit) & 1 == value]
                if chosen and set(self._closure(group, chosen)) != set(chosen):
                    return False
        return True

    def _closure(self, group: Any, channels: list[int]) -> list[int]:
        root = group[0].dep
        closed = self._graph.get_pruning_group(root.target.module, root.handler, channels)
        return [int(i) for i in closed[0].idxs]


class _Links:
    """Classes of channels that were joined."""

    def __init__(self, channels: Sequence[int]) -> None:
        self._parent = {c: c for c in channels}

    def find(self, channel: int) -> int:
        while self._parent[channel] != channel:
            self._parent[channel] = channel = self._parent[self._parent[channel]]
        return channel

    def join(self, channels: Sequence[int]) -> None:
        first = self.find(channels[0])
        for channel in channels[1:]:
            other = self.find(channel)
            first, other = min(first, other), max(first, other)
            self._parent[other] = first

    def classes(self) -> list[list[int]]:
        found: dict[int, list[int]] = {}
        for channel in sorted(self._parent):
            found.setdefault(self.find(channel), []).append(channel)
        return list(found.values())


def _blocks(module: nn.Module) -> int:
    """Blocks that a layer splits its channels into, all of which must keep as many."""
    if isinstance(module, nn.GroupNorm):
        return module.num_groups
    if isinstance(module, nn.modules.conv._ConvNd) and module.groups != module.out_channels:
        return module.groups
    return 1


def _owned(places: Tensor, channels: Tensor, units: Tensor) -> Tensor:
    """Places of each unit, ascending: int64 ``[size, width]``; width 0 if units have unlike numbers."""
    unit_of = torch.full((int(units.max()) + 1,), -1, dtype=torch.int64)
    unit_of[units.flatten()] = torch.arange(units.shape[0]).repeat_interleave(units.shape[1])
    pairs = torch.unique(torch.stack([unit_of[channels], places]), dim=1)
    counts = torch.bincount(pairs[0], minlength=units.shape[0])
    if not bool((counts == counts[0]).all()):
        return torch.empty(units.shape[0], 0, dtype=torch.int64)
    return pairs[1].reshape(units.shape[0], -1)


def _inputs(module: nn.Module) -> int:
    """Channels that a linear layer or convolution reads."""
    size: Any = module.in_channels if isinstance(module, nn.modules.conv._ConvNd) else module.in_features
    return int(size)


def _channel_dim(module: nn.Module) -> int:
    """Dimension of the channels in a layer's input, from behind: inputs may lack a batch."""
    if isinstance(module, nn.modules.conv._ConvNd):
        return -len(module.kernel_size) - 1
    return -1


def call(model: nn.Module, example_inputs: Any) -> Any:
    """One forward call with a tensor, a tuple of arguments or a mapping of keywords."""
    if isinstance(example_inputs, Mapping):
        return model(**example_inputs)
    if isinstance(example_inputs, Tensor):
        return model(example_inputs)
    return model(*example_inputs)


def tensors_of(output: Any) -> list[Tensor]:
    """All tensors in nested mappings, tuples and lists."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        return [t for value in output.values() for t in tensors_of(value)]
    if isinstance(output, tuple | list):
        return [t for value in output for t in tensors_of(value)]
    return []


def shapes(output: Any) -> list[tuple[int, ...]]:
    """Shapes of all tensors of an output."""
    return [tuple(t.shape) for t in tensors_of(output)]
