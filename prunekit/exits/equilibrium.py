"""Gradient equilibrium: balancing the gradients of many exits in one backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


def scale_gradient(value: Tensor, factor: float) -> Tensor:
    """The identity, whose backward pass multiplies the gradient by ``factor``."""
    return value if factor == 1 else _ScaleGradient.apply(value, factor)


@contextmanager
def gradient_equilibrium(model: nn.Module, enabled: bool = True) -> Iterator[None]:
    """Switch Eq. 3's scaling of a multi-exit model on, or off, for a block of code."""
    before = model.gradient_equilibrium
    model.gradient_equilibrium = enabled  # type: ignore[assignment]
    try:
        yield
    finally:
        model.gradient_equilibrium = before
