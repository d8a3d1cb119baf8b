"""How large a unit's parameters are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..arguments import number
from ..dependency_graph import per_channel, pieces, root_name
from ..errors import UnsupportedModelError
from ..groups import Group, Slice
from . import register
from .base import Loss, Scorer, checked, split_intrinsic


@register("magnitude")
class Magnitude(Scorer):
    """Norm of all parameters a unit owns: (sum |w|^p)^(1/p), no data needed.

    Han et al., "Learning both Weights and Connections" (2015), for single weights; Li et al., "Pruning
    Filters for Efficient ConvNets" (2017), for whole structures.

    Args:
        p: order of the norm, above 0; 2 is the Euclidean norm.
    """

    needs_data = False

    def __init__(self, p: float = 2.0) -> None:
        self.p = number(p, "magnitude.p", above=0)

    @torch.no_grad()
    def score(
        self,
        model: nn.Module,
        groups: Sequence[Group],
        batches: Iterable[Any] = (),
        loss: Loss | None = None,
    ) -> dict[str, Tensor]:
        """As in :class:`Scorer`; ``batches`` and ``loss`` are not read.

        Raises:
            TrainingError: a norm that is not finite: of weights that are not, or of too large a power.
            UnsupportedModelError: a group whose units own no parameters.
        """
        rest, scores = split_intrinsic(groups)
        for group in rest:
            if not group.slices:
                raise UnsupportedModelError(
                    f"{group.name}: its units own no parameters, so they have no magnitude",
                    "use a scorer that reads activations, e.g. taylor",
                )
            sums = torch.zeros(group.size, dtype=torch.float64)
            for piece in group.slices:
                sums += self._by_position(piece)[piece.places(group.size)].sum(dim=1)
            scores[group.name] = checked(group.name, sums.pow(1 / self.p).float())
        return {g.name: scores[g.name] for g in groups}

    @torch.no_grad()
    def __call__(self, group: Any, **kwargs: Any) -> Tensor | None:
        """Norm of each channel's rows, columns, biases and norm parameters; needs no gradient."""
        parts = pieces(group)
        if not parts:
            return None
        values = per_channel(group, parts, [self._powers(p.tensor) for p in parts])
        return checked(root_name(group), values.pow(1 / self.p).float())

    def _by_position(self, piece: Slice) -> Tensor:
        """Sum of |w|^p at each position of a slice's dimension, float64 ``[length]``.

        Nothing of the tensor is copied; what is below float32 is summed in float32.
        """
        values, dim = piece.tensor.detach(), piece.dim % piece.tensor.dim()
        others = [d for d in range(values.dim()) if d != dim]
        if not others:
            return self._powers(values).cpu()
        dtype = torch.promote_types(values.dtype, torch.float32)
        return torch.linalg.vector_norm(values, self.p, dim=others, dtype=dtype).double().cpu() ** self.p

    def _powers(self, values: Tensor) -> Tensor:
        return values.detach().double().abs().pow(self.p)
