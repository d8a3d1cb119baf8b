"""Activation times gradient, summed per unit while the backward pass runs.

Each gate becomes an identity in the graph whose backward pass multiplies the gradient that arrives with the
activation that went through and adds the product up per unit. So scoring needs no parameter gradients, and
keeps nothing but one number a unit (and example, where asked) beside what autograd itself keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TrainingError, UnsupportedModelError
from ..groups import Gate, Group
from ..modes import evaluating


class _Observe(torch.autograd.Function):
    """The identity; ``report`` is called with the activation and its gradient.

    ``anchor`` requires a gradient, so that the graph starts here even where ``value`` requires none, and
    receives none itself.
    """

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, anchor: Tensor, report: Callable[[Tensor, Tensor], None], copy: bool
    ) -> Tensor:
        ctx.save_for_backward(value)
        ctx.report = report
        # What follows an output gate may work in place, which a view would not survive.
        return value.clone() if copy else value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, None]:
        (value,) = ctx.saved_tensors
        ctx.report(value, gradient)
        return (gradient if ctx.needs_input_grad[0] else None), None, None, None


class GateReader:
    """Hooks on the gates of groups, while used as a context.

    Args:
        groups: every one with at least one gate.
        per_example: keep dimension 0 of the activations, the batch, apart.

    Attributes:
        anchor: the tensor to differentiate the loss by, which runs through every gate.
    """

    def __init__(self, groups: Sequence[Group], per_example: bool = False) -> None:
        for group in groups:
            if not group.gates:
                raise UnsupportedModelError(
                    f"{group.name}: it names no gate, so its units' activations cannot be seen",
                    "use a scorer that reads parameters alone, e.g. magnitude",
                )
        self.anchor = torch.zeros((), requires_grad=True)
        self._groups, self._per_example = list(groups), per_example
        self._sums: dict[str, Tensor] = {}
        self._hooks = ExitStack()

    def __enter__(self) -> GateReader:
        for group in self._groups:
            for gate in group.gates:
                self._hooks.callback(self._hook(group, gate).remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()

    def backward(self, loss: Tensor) -> dict[str, Tensor]:
        """Run the backward pass; sums of activation x gradient: name -> float64 ``[size]`` or ``[B, size]``.

        Groups that ``loss`` does not depend on are missing.
        """
        self._sums = {}
        torch.autograd.grad(loss, self.anchor, allow_unused=True)
        sums, self._sums = self._sums, {}
        return sums

    def _hook(self, group: Group, gate: Gate) -> Any:
        def report(value: Tensor, gradient: Tensor) -> None:
            self._add(group.name, unit_sums(group, gate, value, gradient, self._per_example))

        def observe(value: Tensor) -> Tensor:
            anchor = self.anchor.to(value.device)
            return _Observe.apply(value, anchor, report, gate.side == "output")

        if gate.side == "output":
            return gate.module.register_forward_hook(lambda module, args, output: observe(output))

        def before(
            module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            if args:
                return (observe(args[0]), *args[1:]), kwargs
            first = next(iter(kwargs))
            return args, {**kwargs, first: observe(kwargs[first])}

        return gate.module.register_forward_pre_hook(before, with_kwargs=True)

    def _add(self, name: str, values: Tensor) -> None:
        known = self._sums.get(name)
        if known is not None and known.shape != values.shape:
            raise UnsupportedModelError(
                f"{name}: activations at its gates have {known.shape[0]} and {values.shape[0]} rows, "
                "so dimension 0 is not the batch everywhere",
                "use the scorer taylor, which needs no examples apart",
            )
        self._sums[name] = values if known is None else known + values


def unit_sums(group: Group, gate: Gate, value: Tensor, gradient: Tensor, per_example: bool) -> Tensor:
    """Sum ``value * gradient`` over all but units (and examples): float64 ``[size]``, ``[B, size]``."""
    dim = gate.dim % value.dim()
    length = value.shape[dim]
    if gate.index is None:
        fits = length == group.size * gate.width
    else:
        fits = gate.index.shape[0] == group.size and int(gate.index.max()) < length
    if not fits:
        raise UnsupportedModelError(
            f"{group.name}: dimension {gate.dim} of the activation {tuple(value.shape)} at "
            f"{type(gate.module).__name__} is not {group.size} units of width {gate.width}",
            "the group does not describe the model as it is now: find the groups again",
        )
    if value.dtype in (torch.float16, torch.bfloat16):
        value, gradient = value.float(), gradient.float()
    others = [d for d in range(1 if per_example else 0, value.dim()) if d != dim]
    product = value * gradient
    sums = product.sum(dim=others) if others else product
    # Metal has no float64.
    sums = sums if sums.device.type == "mps" else sums.double()
    if gate.index is not None:
        sums = sums.index_select(-1, gate.index.flatten().to(sums.device))
    return sums.unflatten(-1, (group.size, gate.width)).sum(dim=-1)


def check_finite(sums: Mapping[str, Tensor], batch: int) -> None:
    """Raise ``TrainingError`` naming the first group with a NaN or infinite sum."""
    finite = [value.isfinite().all() for value in sums.values()]
    if finite and not bool(torch.stack([f.to(finite[0].device) for f in finite]).all()):
        name = next(n for n, value in sums.items() if not bool(value.isfinite().all()))
        raise TrainingError(
            f"importance of {name} is not finite after batch {batch}",
            "look for an overflow in the model's activations or the loss; score in float32",
        )


@contextmanager
def scoring_mode(model: nn.Module, trainable: Collection[nn.Parameter] = ()) -> Iterator[None]:
    """Evaluation mode, gradients on, and only ``trainable`` parameters requiring them; then all as it was.

    ``.grad`` of the trainable ones is put aside, and put back.
    """
    wanted = {id(p) for p in trainable}
    flags = [(p, p.requires_grad) for p in model.parameters()]
    gradients = [(p, p.grad) for p in trainable]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(id(parameter) in wanted)
        for parameter, _ in gradients:
            parameter.grad = None
        with evaluating(model), torch.enable_grad():
            yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        for parameter, gradient in gradients:
            parameter.grad = gradient
