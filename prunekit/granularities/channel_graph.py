"""A model's dependency graph, cut into parts whose channels can be removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from ..dependency_graph import Piece, opaque, pieces
from ..groups import Gate, Slice


@dataclass
class Part:
    """Channels that leave together, unit by unit.

    Attributes:
        name: of the layer at the root.
        units: int64 ``[size, k]``, the root's output channels that each unit has: one, or several where
            channels are coupled (gated sums, grouped convolutions).
    """

    name: str
    units: Tensor


@dataclass(frozen=True)
class Excluded:
    """Channels that must stay, and why."""

    name: str
    reason: str


class ChannelGraph:
    """torch-pruning's dependency graph of a model.

    Args:
        model: traced in evaluation mode, in which it is left.
        example_inputs: arguments of one forward call.

    Attributes:
        version: grows whenever channels are removed.
    """

    def __init__(self, model: nn.Module, example_inputs: Any) -> None:
        self.model = model
        self.version = 0
        self._outputs: set[Any] = set()
        self._graph = tp.DependencyGraph().build_dependency(
            model, example_inputs, forward_fn=call, output_transform=self._record, verbose=False
        )

    def parts(self, ignored: Sequence[str] = ()) -> Iterator[Part | Excluded]:
        """Output channels of all convolutions and linear layers, each once, in the order of the modules.

        What is coupled is named after its first layer; outputs of ``ignored`` modules stay.
        """
        modules = dict(self.model.named_modules())
        keep = {modules[name] for name in ignored}
        for name, group in self._groups(modules):
            reason = self._obstacle(group, keep)
            if reason is not None:
                yield Excluded(name, reason)
                continue
            units = self._units(group)
            if isinstance(units, str):
                yield Excluded(name, units)
            elif units.shape[0] == 1:
                yield Excluded(name, "there is only one")
            else:
                yield Part(name, units)

    def _groups(self, modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, Any]]:
        seen: set[nn.Module] = set()
        for name, module in modules.items():
            if not isinstance(module, (tp.ops.TORCH_CONV, tp.ops.TORCH_LINEAR)):
                continue
            if module in seen or module not in self._graph.module2node:
                continue
            prune = self._graph.get_pruner_of_module(module).prune_out_channels
            every = list(range(self._graph.get_out_channels(module)))
            group = self._graph.get_pruning_group(module, prune, every)
            out = self._graph.is_out_channel_pruning_fn
            seen.update(dep.target.module for dep, _ in group if out(dep.handler))
            yield name or "model", group

    def keep(self, part: Part, indices: Tensor) -> None:
        """Remove all units of a part but those at ``indices``."""
        kept = part.units[indices]
        gone = sorted(set(part.units.flatten().tolist()) - set(kept.flatten().tolist()))
        if not gone:
            return
        module, prune = self._root(part)
        self._graph.get_pruning_group(module, prune, gone).prune(record_history=False)
        part.units = torch.searchsorted(kept.flatten().sort().values, kept)
        self.version += 1

    def describe(self, part: Part) -> tuple[tuple[Slice, ...], tuple[Gate, ...]]:
        """What the part's units own now, and where they are read."""
        slices, gates = [], []
        for piece in pieces(self._whole(part)):
            index = _owned(piece.places, piece, part.units)
            slices.append(
                Slice(piece.module, piece.parameter, piece.dim, index.shape[1], _unless_plain(index))
            )
            if piece.role == "consumer":
                index = _owned(piece.positions, piece, part.units)
                dim = _channel_dim(piece.module)
                gates.append(Gate(piece.module, "input", dim, index.shape[1], _unless_plain(index)))
        return tuple(slices), tuple(gates)

    def _root(self, part: Part) -> tuple[nn.Module, Any]:
        module = self.model if part.name == "model" else self.model.get_submodule(part.name)
        return module, self._graph.get_pruner_of_module(module).prune_out_channels

    def _whole(self, part: Part) -> Any:
        module, prune = self._root(part)
        return self._graph.get_pruning_group(module, prune, sorted(part.units.flatten().tolist()))

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
            if _owned(piece.places, piece, table).numel() == 0:
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


def _owned(places: Tensor, piece: Piece, units: Tensor) -> Tensor:
    """Places of each unit, ascending: int64 ``[size, width]``; width 0 if units have unlike numbers."""
    unit_of = torch.full((int(units.max()) + 1,), -1, dtype=torch.int64)
    unit_of[units.flatten()] = torch.arange(units.shape[0]).repeat_interleave(units.shape[1])
    pairs = torch.unique(torch.stack([unit_of[piece.channels], places]), dim=1)
    counts = torch.bincount(pairs[0], minlength=units.shape[0])
    if not bool((counts == counts[0]).all()):
        return torch.empty(units.shape[0], 0, dtype=torch.int64)
    return pairs[1].reshape(units.shape[0], -1)


def _unless_plain(index: Tensor) -> Tensor | None:
    """``None`` for units that lie one after the other, which need no index."""
    plain = torch.arange(index.numel()).reshape(index.shape)
    return None if torch.equal(index, plain) else index


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
