"""ViT, DeiT, BEiT and CLIP."""

from __future__ import annotations

from typing import ClassVar

from . import register
from .base import Architecture


@register("vit")
class Vit(Architecture):
    """ViT, DeiT and BEiT: patches of an image as tokens; BEiT's heads own columns of a table of positions."""

    model_types: ClassVar[tuple[str, ...]] = ("vit", "deit", "beit")
    stack_paths: ClassVar[tuple[str, ...]] = ("layers",)
    norm_path = "layernorm"


@register("clip")
class Clip(Architecture):
    """CLIP: a tower for texts and one for images, each alone or both together."""

    model_types: ClassVar[tuple[str, ...]] = ("clip", "clip_text_model", "clip_vision_model")
    stack_paths: ClassVar[tuple[str, ...]] = (
        *("text_model.encoder.layers", "vision_model.encoder.layers"),
        "encoder.layers",
    )
