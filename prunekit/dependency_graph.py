"""What torch-pruning's groups say about parameters, in prunekit's terms.

A group of torch-pruning is a list of (dependency, indices): prune these channels of that module. Here it
becomes a list of :class:`Piece`: these positions of that dimension of that parameter belong to those
channels of the group's root. Scorers read it to work inside torch-pruning's pruners; the granularity
``channels`` reads it to describe its units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch_pruning import ops
from torch_pruning.pruner import function
from transformers.pytorch_utils import Conv1D

Role = Literal["producer", "consumer", "between"]

# Layers whose channels torch-pruning does not follow, or lays out in a way of its own.
UNTRACED = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, nn.Bilinear, Conv1D)

_LINEAR = {function.prune_linear_out_channels: (0, True), function.prune_linear_in_channels: (1, False)}
_CONV = {function.prune_conv_out_channels: (0, True), function.prune_conv_in_channels: (1, False)}
_DEPTHWISE = (function.prune_depthwise_conv_out_channels, function.prune_depthwise_conv_in_channels)
_NORMS = (
    *(function.prune_batchnorm_out_channels, function.prune_batchnorm_in_channels),
    *(function.prune_instancenorm_out_channels, function.prune_instancenorm_in_channels),
    *(function.prune_groupnorm_out_channels, function.prune_groupnorm_in_channels),
    *(function.prune_prelu_out_channels, function.prune_prelu_in_channels),
)
_LAYER_NORM = (function.prune_layernorm_out_channels, function.prune_layernorm_in_channels)
_EMBEDDING = (function.prune_embedding_out_channels, function.prune_embedding_in_channels)


@dataclass(frozen=True)
class Piece:
    """Positions of one dimension of one parameter that belong to channels of a group.

    Attributes:
        module: owner of the parameter.
        parameter: its attribute name.
        dim: the dimension.
        role: ``"producer"``: rows, and biases, that make the channels; ``"consumer"``: columns that read
            them; ``"between"``: one value a channel (norms, depthwise convolutions, PReLU).
        positions: int64 ``[N]``, channels of the module's input or output.
        channels: int64 ``[N]``, the root's channel that each position belongs to.
    """

    module: nn.Module
    parameter: str
    dim: int
    role: Role
    positions: Tensor
    channels: Tensor

    @property
    def tensor(self) -> Tensor:
        """The parameter as it is now."""
        return getattr(self.module, self.parameter)

    @property
    def places(self) -> Tensor:
        """Where ``positions`` are along ``dim``: all blocks of a grouped convolution share its columns."""
        return self.positions % self.tensor.shape[self.dim]

    @property
    def label(self) -> str:
        """For messages: class and parameter, with the shape."""
        return f"{type(self.module).__name__}.{self.parameter} {tuple(self.tensor.shape)}"


def pieces(group: Any) -> list[Piece]:
    """All parameters that a torch-pruning group touches.

    What has no parameters (activations, reshapes) is passed over, and so are LSTM, MultiheadAttention and
    custom layers, which lay their channels out in ways of their own: see :func:`opaque`.
    """
    return [
        Piece(module, parameter, dim, role, *positions(item))
        for item in group
        for module, parameter, dim, role in _touched(group, item.dep)
    ]


def positions(item: Any) -> tuple[Tensor, Tensor]:
    """Channels of the module that an item of a group is about, and of the root: int64 ``[N]`` each."""
    channels = getattr(item, "root_idxs", None) or item.idxs
    # torch-pruning loses the root of a channel where queries are grouped (None).
    pairs = [(i, c) for i, c in zip(item.idxs, channels, strict=True) if c is not None]
    own = torch.tensor([i for i, _ in pairs], dtype=torch.int64)
    return own, torch.tensor([int(c) for _, c in pairs], dtype=torch.int64)


def opaque(group: Any) -> list[str]:
    """Names of a group's layers whose parameters :func:`pieces` cannot describe."""
    kinds = (ops.OPTYPE.LSTM, ops.OPTYPE.MHA, ops.OPTYPE.CUSTOMIZED)
    names = [dep.target.name for dep, _ in group if dep.target.type in kinds]
    running = [
        dep.target.name
        for dep, _ in group
        if dep.target.type == ops.OPTYPE.IN and dep.target.module.track_running_stats
    ]
    owners = [owner for dep, _ in group if (owner := _owner(group, dep.target.module)) is not None]
    untraced = [group._DG._module2name[owner] for owner in owners if isinstance(owner, UNTRACED)]
    bare = [
        dep.target.name
        for dep, _ in group
        if isinstance(dep.target.module, nn.LayerNorm) and dep.target.module.weight is None
    ]
    return list(dict.fromkeys(names + running + untraced + bare))


def root_channels(group: Any) -> Tensor:
    """Channels of the group's root, in the order torch-pruning expects their scores in: int64 ``[C]``."""
    return torch.tensor([int(i) for i in group[0].idxs], dtype=torch.int64)


def root_name(group: Any) -> str:
    """Name of the module that the group is about."""
    return str(group[0].dep.target.name)


def per_channel(group: Any, parts: Sequence[Piece], values: Sequence[Tensor]) -> Tensor:
    """Sum ``values[i]``, shaped as ``parts[i]``'s parameter, over each root channel's positions: ``[C]``."""
    roots = root_channels(group)
    width = 1 + max([int(roots.max()), *(int(p.channels.max()) for p in parts if p.channels.numel())])
    sums = torch.zeros(width, dtype=torch.float64)
    for part, value in zip(parts, values, strict=True):
        others = [d for d in range(value.dim()) if d != part.dim % value.dim()]
        rows = value.double().sum(dim=others) if others else value.double()
        sums.index_add_(0, part.channels, rows.cpu()[part.places])
    return sums[roots]


def _owner(group: Any, parameter: Any) -> nn.Module | None:
    """The module whose own parameter this is; ``None`` for what is no bare parameter."""
    if not isinstance(parameter, nn.Parameter):
        return None
    path = group._DG._param_to_name[parameter].rpartition(".")[0]
    owner: nn.Module = group._DG.model.get_submodule(path)
    return owner


def _touched(group: Any, dep: Any) -> Iterator[tuple[nn.Module, str, int, Role]]:
    module, handler = dep.target.module, dep.handler
    owner = _owner(group, module)
    if owner is not None:
        attribute = group._DG._param_to_name[module].rpartition(".")[2]
        yield owner, attribute, dep.target.pruning_dim, "between"
        return
    if handler in _LINEAR or handler in _CONV:
        dim, produces = _LINEAR.get(handler) or _CONV[handler]
        flipped = 1 - dim if getattr(module, "transposed", False) else dim
        yield module, "weight", flipped, "producer" if produces else "consumer"
        if produces and module.bias is not None:
            yield module, "bias", 0, "producer"
        return
    if handler in _EMBEDDING:
        yield module, "weight", 1, "producer"
        return
    if handler in _LAYER_NORM:
        dim = dep.target.pruning_dim
    elif handler in _NORMS or handler in _DEPTHWISE:
        dim = 0
    else:
        return
    if isinstance(module, nn.PReLU) and module.num_parameters == 1:
        return
    for parameter in ("weight", "bias"):
        if getattr(module, parameter, None) is not None:
            yield module, parameter, dim, "between"
