"""Which kernel computes attention while a model is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, cast

import torch
from accelerate.utils import extract_model_from_parallel
from torch import nn

if TYPE_CHECKING:
    from ...exits import MultiExitForSequenceClassification


def trained_attention(model: nn.Module) -> AbstractContextManager[None]:
    """A context for the forward pass of a multi-exit model that is to be trained.

    On a processor the backward pass of PyTorch's fused attention takes 3 to 10 times as long in bfloat16 as
    in float32, a quarter of a slender model's whole training step (measured with 2.13), and PyTorch's own way
    around it, which it also takes with dropout, computes in float32. There, under bfloat16 autocast and with
    gradients, a model with ``"sdpa"`` attention has ``"eager"`` attention; everywhere else it keeps its own.

    Args:
        model: multi-exit, possibly wrapped for training in several processes.
    """
    slow = (
        torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )
    return _eager_for_sdpa(model) if slow else nullcontext()


@contextmanager
def _eager_for_sdpa(model: nn.Module) -> Iterator[None]:
    inner = cast("MultiExitForSequenceClassification", extract_model_from_parallel(model))
    config = inner.backbone.config
    own = config._attn_implementation
    config._attn_implementation = "eager" if own == "sdpa" else own
    try:
        yield
    finally:
        config._attn_implementation = own
