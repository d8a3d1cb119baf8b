"""ViT, DeiT, BEiT and CLIP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from ..groups import Slice
from . import register
from .base import Architecture, Place, shared_heads
from .blocks import TABLE


@register("vit")
class Vit(Architecture):
    """ViT and DeiT: patches of an image as tokens."""

    model_types: ClassVar[tuple[str, ...]] = ("vit", "deit")
    stack_paths: ClassVar[tuple[str, ...]] = ("layers",)
    norm_path = "layernorm"


@register("beit")
class Beit(Vit):
    """BEiT: heads own columns of a table of positions, of each layer or of all layers together.

    In the second case the layers lose the same heads: a unit is one head of every layer.
    """

    model_types: ClassVar[tuple[str, ...]] = ("beit",)

    def places(self, backbone: Any) -> Iterator[Place]:
        places = super().places(backbone)
        shared = getattr(backbone, "shared_position_bias", None)
        yield from places if shared is None else shared_heads(places, "layers", [Slice(shared, TABLE, 1)])


@register("clip")
class Clip(Architecture):
    """CLIP: a tower for texts and one for images, each alone or both together."""

    model_types: ClassVar[tuple[str, ...]] = ("clip", "clip_text_model", "clip_vision_model")
    stack_paths: ClassVar[tuple[str, ...]] = (
        *("text_model.encoder.layers", "vision_model.encoder.layers"),
        "encoder.layers",
    )
