"""Which kernel computes attention while a model is trained."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


def trained_attention(device_type: str) -> AbstractContextManager[Any]:
    """A context for the forward pass of a model that is to be trained.

    On a processor the backward pass of PyTorch's fused attention takes 3 to 10 times as long in bfloat16 as
    in float32, a quarter of a slender model's whole training step (measured with 2.13; dropout of attention
    hides it, since then the kernel is not used). There, under bfloat16 autocast and with gradients, attention
    is made of matrix products; everywhere else PyTorch chooses.
    """
    slow = (
        device_type == "cpu"
        and torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )
    return sdpa_kernel(SDPBackend.MATH) if slow else nullcontext()
