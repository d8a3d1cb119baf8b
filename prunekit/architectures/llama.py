"""Llama, and the decoders that share its layout."""

from __future__ import annotations

from typing import ClassVar

from . import register
from .base import Architecture


@register("llama")
class Llama(Architecture):
    """Llama, Mistral, Qwen, Gemma, Mixtral: pre-norm decoder, rotary positions, grouped queries, gated FFN.

    Alternating windows (Gemma), norms of queries and keys, soft caps and experts change nothing of what units
    own. Of experts a unit is one neuron of every expert of the layer.
    """

    model_types: ClassVar[tuple[str, ...]] = (
        *("llama", "mistral", "mixtral", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe"),
        *("gemma", "gemma2", "gemma3_text"),
    )
    stack_paths: ClassVar[tuple[str, ...]] = ("layers",)
    causal = True
    norm_path = "norm"


@register("phi")
class Phi(Llama):
    """Phi: attention and FFN side by side, plain FFN."""

    model_types: ClassVar[tuple[str, ...]] = ("phi",)
    norm_path = "final_layernorm"


@register("phi3")
class Phi3(Llama):
    """Phi-3: queries, keys and values in one matrix, gate and up in another; heads are counted there."""

    model_types: ClassVar[tuple[str, ...]] = ("phi3",)
    reads_config = ("num_attention_heads",)
