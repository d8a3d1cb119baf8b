"""The importance that COST-EFF's published code computes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..arguments import one_of
from ..dependency_graph import per_channel, pieces, root_name
from ..errors import UnsupportedModelError
from ..groups import Group, Slice
from . import register
from .base import Loss, checked
from .gates import check_finite, scoring_mode
from .gradient import GradientScorer, gradient_of, require_all


@register("taylor_published")
class TaylorPublished(GradientScorer):
    """Taylor as in COST-EFF's published code: sum over batches of sum |dL/dw| * |w|.

    Where the paper's Eq. 2 takes the absolute value of a sum, this sums absolute products, weight by weight,
    over a unit's weight matrices, and then over batches (after Molchanov et al., "Importance Estimation for
    Neural Network Pruning", 2019, with the absolute value for the square). Biases do not count.

    Needs gradients of the parameters it reads, and of no others; each is freed as soon as it is read.

    Args:
        slices: ``"published"``: for heads the columns of the attention output matrix alone, for all else
            every weight matrix of the unit (FFN neurons: input row and output column); ``"all"``: every
            weight matrix, for heads too.
        exits: ``"all"`` (default) or ``"last"``, see :class:`GradientScorer`.
        gradient_equilibrium: default: as the model has it switched now.
    """

    def __init__(
        self,
        slices: Literal["published", "all"] = "published",
        exits: Literal["last", "all"] = "all",
        gradient_equilibrium: bool | None = None,
    ) -> None:
        one_of(slices, "taylor_published.slices", ("published", "all"))
        super().__init__(exits, gradient_equilibrium)
        self.slices = slices

    def accumulate(
        self, model: nn.Module, groups: Sequence[Group], batches: Iterable[Any], loss: Loss
    ) -> dict[str, Tensor]:
        """Sum of |dL/dw| * |w| for each unit."""
        wanted = self._wanted(groups)
        sums: dict[str, Tensor] = {}
        trainable = [parameter for parameter, _ in wanted.values()]
        with scoring_mode(model, trainable), ExitStack() as hooks:
            for parameter, owners in wanted.values():
                read = _reader(owners, sums)
                hooks.callback(parameter.register_post_accumulate_grad_hook(read).remove)
            for number, total in self.losses(model, batches, loss, groups):
                torch.autograd.backward(total, inputs=trainable)
                check_finite(sums, number)
        require_all(sums, groups)
        return sums

    @torch.no_grad()
    def __call__(self, group: Any, **kwargs: Any) -> Tensor | None:
        """Sum of |dL/dw| * |w| over the matrices and kernels of each channel, from ``.grad``."""
        chosen = [p for p in pieces(group) if p.tensor.dim() >= 2]
        if not chosen:
            return None
        values = per_channel(group, chosen, [(p.tensor * gradient_of(p)).abs() for p in chosen])
        return checked(root_name(group), values.float())

    def _wanted(self, groups: Sequence[Group]) -> dict[int, tuple[nn.Parameter, list[tuple[Group, Slice]]]]:
        """Parameters to differentiate by, by identity, each with the slices of it that are read."""
        wanted: dict[int, tuple[nn.Parameter, list[tuple[Group, Slice]]]] = {}
        for group in groups:
            chosen = self._chosen(group)
            if not chosen:
                raise UnsupportedModelError(
                    f"{group.name}: none of its parameters is a weight matrix that taylor_published reads",
                    "use the scorer taylor",
                )
            for piece in chosen:
                parameter = piece.tensor
                if not isinstance(parameter, nn.Parameter):
                    raise UnsupportedModelError(
                        f"{group.name}: {type(piece.module).__name__}.{piece.parameter} is not a parameter",
                        "use the scorer taylor, which reads activations alone",
                    )
                wanted.setdefault(id(parameter), (parameter, []))[1].append((group, piece))
        return wanted

    def _chosen(self, group: Group) -> list[Slice]:
        matrices = [s for s in group.slices if s.tensor.dim() >= 2]
        if self.slices == "all" or group.granularity != "heads":
            return matrices
        readers = {gate.module for gate in group.gates}
        return [s for s in matrices if s.module in readers]


def _reader(owners: Sequence[tuple[Group, Slice]], sums: dict[str, Tensor]) -> Any:
    """A hook that adds a parameter's |w * dL/dw| to its units' sums, and frees the gradient."""

    def read(parameter: Tensor) -> None:
        if parameter.grad is None:
            return
        product = (parameter.detach() * parameter.grad).abs_()
        parameter.grad = None
        for group, piece in owners:
            value = piece.per_unit(product, group.size).double()
            sums[group.name] = sums[group.name] + value if group.name in sums else value

    return read
