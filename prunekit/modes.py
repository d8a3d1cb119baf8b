"""Evaluation mode, and no training, for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode; then every module, by itself, is in the mode it was in: some may be frozen."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def frozen(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Parameters of these modules need no gradient, and ``train()`` of what holds them passes them by.

    So no optimizer moves them, by weight decay neither, and dropout stays off in them.
    """
    flags = [(p, p.requires_grad) for module in modules for p in module.parameters()]
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(evaluating(module))
            module.train = lambda mode=True, module=module: module  # type: ignore[method-assign, misc]
            stack.callback(delattr, module, "train")
        try:
            for parameter, _ in flags:
                parameter.requires_grad_(False)
            yield
        finally:
            for parameter, flag in flags:
                parameter.requires_grad_(flag)
