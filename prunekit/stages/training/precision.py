"""What a model is computed in while it is trained: bfloat16 under autocast, or float32."""

from __future__ import annotations

import torch
from torch import nn

from prunekit.machine import processor

# With fewer multiply-adds for each number that goes in or comes out of a linear layer, casting these numbers
# takes a processor longer than bfloat16 spares it. Break-even of models of 6 layers, widths 128 and 384,
# batches of 768 tokens, one thread; measured with AMX alone: tests/benchmarks/bench_precision.py.
WORTH_CASTING = 50.0


def autocast_dtype(
    precision: str, device: torch.device, model: nn.Module, quicker: bool | None = None
) -> torch.dtype | None:
    """What a model computes in under autocast, or ``None`` for plain float32.

    Args:
        precision: ``"bfloat16"``; ``"float32"``; or ``"auto"``, which is bfloat16 where the hardware is
            quicker in it, and on a processor only if the model's linear layers are wide enough to gain by it.
        device: that it computes on.
        model: as it is now: a slim one may be better off in float32 where the dense one is not.
        quicker: whether the hardware is quicker in bfloat16, where that was decided before; default: see
            :func:`quicker_in_bfloat16`.
    """
    if precision == "float32":
        return None
    if precision == "bfloat16":
        return torch.bfloat16
    gains = quicker_in_bfloat16(device) if quicker is None else quicker
    if device.type == "cpu":
        gains = gains and multiply_adds_per_number(model) >= WORTH_CASTING
    return torch.bfloat16 if gains else None


def quicker_in_bfloat16(device: torch.device) -> bool:
    """Whether the hardware is quicker in bfloat16 than in float32; a processor: with wide enough layers."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and cpu_is_quicker_in_bfloat16()


def cpu_is_quicker_in_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 matrices quicker than those of float32.

    With AMX, by far. With AVX512-BF16 alone AMD's do; Intel's multiply twice the numbers with half of their
    units, so that nothing pays for the casts: there training steps of all sizes that
    ``tests/benchmarks/bench_precision.py`` measures take 1.5 to 1.7 times as long as in float32.
    """
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    return _torch_finds("amx_tile") or (_torch_finds("avx512_bf16") and "AMD" in processor())


def _torch_finds(instructions: str) -> bool:
    """Whether PyTorch finds these instructions; its question for them is not public, so it may be missing."""
    probe = getattr(torch.cpu, f"_is_{instructions}_supported", None)
    return bool(probe is not None and probe())


def multiply_adds_per_number(model: nn.Module) -> float:
    """Multiply-adds of a model's linear layers for each number that goes in or comes out; 0 without any."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    numbers = sum(layer.in_features + layer.out_features for layer in layers)
    return sum(layer.in_features * layer.out_features for layer in layers) / max(numbers, 1)
