"""Groups of interchangeable units, and how they are cut out of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

# Tells `prunekit.optimizers` what `cut` does: slices, and the positions along their dimension that it keeps.
cuts: ContextVar[list[tuple[Slice, Tensor]] | None] = ContextVar("cuts", default=None)


@dataclass(frozen=True)
class Gate:
    """Where the activations of a group's units can be seen.

    Unit ``u`` owns positions ``[u * width, (u + 1) * width)`` of dimension ``dim`` of the first input, or
    the output, of ``module``. A multiplication of these activations by one factor a unit, equal to 1, is
    the gate whose derivative is the first-order Taylor importance. Where the positions are not contiguous,
    unit ``u`` owns ``index[u]`` instead (int64 ``[size, width]``).
    """

    module: nn.Module
    side: Literal["input", "output"] = "input"
    dim: int = -1
    width: int = 1
    index: Tensor | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Slice:
    """A dimension of a parameter that a group's units own.

    Unit ``u`` owns positions ``[u * width, (u + 1) * width)`` of dimension ``dim``, or, where they are not
    contiguous, ``index[u]`` (int64 ``[size, width]``).
    """

    module: nn.Module
    parameter: str
    dim: int
    width: int = 1
    index: Tensor | None = field(default=None, compare=False)

    @property
    def tensor(self) -> Tensor:
        """The parameter as it is now."""
        return getattr(self.module, self.parameter)

    def positions(self, units: Tensor) -> Tensor:
        """Positions along ``dim`` of the given units, in order: int64 ``[len(units) * width]``."""
        if self.index is not None:
            return self.index.to(units.device)[units].flatten()
        return (units[:, None] * self.width + torch.arange(self.width, device=units.device)).flatten()

    def per_unit(self, values: Tensor, size: int) -> Tensor:
        """Sum a tensor of the parameter's shape over everything but the units: ``[size]``."""
        rows = values.movedim(self.dim, 0)
        if self.index is not None:
            rows = rows[self.index.to(rows.device).flatten()]
        return rows.reshape(size, -1).sum(dim=1)


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
        slices: what parameters the units own.
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
        self.slices = tuple(slices)

    @abstractmethod
    def keep(self, indices: Tensor) -> None:
        """Slim in place to the units at ``indices`` (ascending int64, none twice, at least one)."""

    def intrinsic_importance(self) -> Tensor | None:
        """Importance the units have by themselves, float ``[size]``; ``None`` where a scorer decides."""
        return None

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


def follow(module: nn.Module) -> None:
    """Bring the sizes that a module of torch, or a matrix of transformers, keeps in line with its parameters."""
    weight = getattr(module, "weight", None)
    if weight is None:
        return
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, Conv1D):
        module.nx, module.nf = weight.shape
    elif isinstance(module, nn.modules.conv._ConvNd):
        flipped = isinstance(module, nn.modules.conv._ConvTransposeNd)
        if module.groups > 1 and weight.shape[1] == 1:
            module.groups = weight.shape[0]
        grouped = weight.shape[1] * module.groups
        module.out_channels, module.in_channels = (
            (grouped, weight.shape[0]) if flipped else (weight.shape[0], grouped)
        )
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        module.num_features = weight.shape[0]
    elif isinstance(module, nn.GroupNorm):
        module.num_channels = weight.shape[0]
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
        module.normalized_shape = tuple(weight.shape)
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = weight.shape
    elif isinstance(module, nn.PReLU):
        module.num_parameters = weight.shape[0]


def cut(piece: Slice, indices: Tensor, size: int) -> None:
    """Replace a slice's parameter by it without the units that are not at ``indices``; module sizes follow.

    What no unit owns stays, and all that stays keeps its order.

    Args:
        piece: owned by the units.
        indices: of the units that are kept.
        size: units there are.
    """
    old = piece.tensor
    stays = _staying(piece, indices, size)
    if (noted := cuts.get()) is not None:
        noted.append((piece, stays))
    new = old.detach().index_select(piece.dim, stays.to(old.device)).clone()
    setattr(piece.module, piece.parameter, nn.Parameter(new, requires_grad=old.requires_grad))
    follow(piece.module)


def _staying(piece: Slice, indices: Tensor, size: int) -> Tensor:
    gone = torch.ones(size, dtype=torch.bool)
    gone[indices] = False
    stays = torch.ones(piece.tensor.shape[piece.dim], dtype=torch.bool)
    stays[piece.positions(gone.nonzero().flatten())] = False
    return stays.nonzero().flatten()


class SlicedGroup(Group):
    """A group whose units are rows and columns of parameters: keeping is index selection.

    Example: the heads of a layer own rows of Q, K and V and columns of the output matrix.
    """

    def keep(self, indices: Tensor) -> None:
        indices = self.checked(indices)
        after = []
        for piece in self.slices:
            stays = _staying(piece, indices, self.size)
            cut(piece, indices, self.size)
            if piece.index is not None:
                piece = replace(piece, index=torch.searchsorted(stays, piece.index[indices]))
            after.append(piece)
        self.slices = tuple(after)
        self.size = indices.numel()
