"""What a model is computed in while it is trained: bfloat16 under autocast, or float32."""

from __future__ import annotations

import torch
from torch import nn

# With fewer multiply-adds for each number that goes in or comes out of a linear layer, casting these numbers
# takes a processor longer than bfloat16 spares it. Break-even of models of 6 layers, widths 128 and 384,
# batches of 768 tokens, one thread; measured with AMX alone: tests/benchmarks/bench_precision.py.
WORTH_CASTING = 50.0


def autocast_dtype(precision: str, device: torch.device, model: nn.Module) -> torch.dtype | None:
    """What a model computes in under autocast, or ``None`` for plain float32.

    Args:
        precision: ``"bfloat16"``; ``"float32"``; or ``"auto"``, which is bfloat16 where the hardware computes
            in it, and on a processor only if the model's linear layers are wide enough to gain by it.
        device: that it computes on.
        model: as it is now: a slim one may be better off in float32 where the dense one is not.
    """
    if precision == "float32":
        return None
    if precision == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if device.type == "cpu":
        gains = cpu_has_bfloat16() and multiply_adds_per_number(model) >= WORTH_CASTING
        return torch.bfloat16 if gains else None
    return None


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 matrices in hardware (AVX512-BF16, AMX)."""
    capabilities = torch.backends.cpu.get_cpu_capability()
    if not capabilities.startswith("AVX512"):
        return False
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe is not None and probe())


def multiply_adds_per_number(model: nn.Module) -> float:
    """Multiply-adds of a model's linear layers for each number that goes in or comes out; 0 without any."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    numbers = sum(layer.in_features + layer.out_features for layer in layers)
    return sum(layer.in_features * layer.out_features for layer in layers) / max(numbers, 1)
