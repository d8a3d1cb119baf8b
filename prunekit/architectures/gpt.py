"""GPT-2, GPT-NeoX, OPT and Falcon."""

from __future__ import annotations

from typing import Any, ClassVar

from ..errors import UnsupportedModelError
from . import register
from .base import Architecture
from .blocks import Kind


@register("gpt2")
class Gpt2(Architecture):
    """GPT-2: transposed matrices, queries, keys and values in one."""

    model_types: ClassVar[tuple[str, ...]] = ("gpt2",)
    stack_paths: ClassVar[tuple[str, ...]] = ("h",)
    causal = True
    norm_path = "ln_f"


@register("gpt_neox")
class GptNeoX(Architecture):
    """GPT-NeoX (Pythia): one matrix with each head's query, key and value side by side."""

    model_types: ClassVar[tuple[str, ...]] = ("gpt_neox",)
    stack_paths: ClassVar[tuple[str, ...]] = ("layers",)
    causal = True
    fused = "heads"
    norm_path = "final_layer_norm"


@register("opt")
class Opt(Architecture):
    """OPT: learned positions; embeddings may be narrower than the layers."""

    model_types: ClassVar[tuple[str, ...]] = ("opt",)
    stack_paths: ClassVar[tuple[str, ...]] = ("decoder.layers",)
    causal = True
    norm_path = "decoder.final_layer_norm"


@register("falcon")
class Falcon(Architecture):
    """Falcon: one key and value for all queries, or groups of them; rotary positions."""

    model_types: ClassVar[tuple[str, ...]] = ("falcon",)
    stack_paths: ClassVar[tuple[str, ...]] = ("h",)
    causal = True
    norm_path = "ln_f"

    fused = "heads"

    def check(self, backbone: Any, kind: Kind) -> None:
        if kind == "attention" and backbone.config.alibi:
            raise UnsupportedModelError(
                "this Falcon has ALiBi positions, which belong to a head's place: no head can be removed",
                "prune its neurons alone",
            )
