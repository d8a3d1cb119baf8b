"""ViT, DeiT, BEiT and CLIP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from torch import Tensor, nn

from ..groups import Slice
from . import register
from .base import Architecture, Place, shared_heads
from .blocks import TABLE, child


@register("vit")
class Vit(Architecture):
    """ViT and DeiT: patches of an image as tokens."""

    model_types: ClassVar[tuple[str, ...]] = ("vit", "deit")
    stack_paths: ClassVar[tuple[str, ...]] = ("layers",)
    norm_path = "layernorm"

    def uses(self, backbone: Any, tokens: int) -> dict[nn.Module, float]:
        """Of an image, whatever ``tokens`` is."""
        patches = patches_of(backbone.config)
        found = super().uses(backbone, patches + extra_tokens(backbone.embeddings))
        return found | {m: patches for m in backbone.embeddings.modules() if m in found}

    def pairs(self, backbone: Any, tokens: int) -> dict[nn.Module, float]:
        """Of an image, whatever ``tokens`` is."""
        return super().pairs(backbone, patches_of(backbone.config) + extra_tokens(backbone.embeddings))


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
    causal = True  # its texts

    def finish(self, backbone: Any, hidden: Tensor) -> Tensor:
        norm = child(backbone, "final_layer_norm") or child(backbone, "text_model.final_layer_norm")
        return hidden if norm is None else norm(hidden)

    def uses(self, backbone: Any, tokens: int) -> dict[nn.Module, float]:
        """Of a text of ``tokens`` tokens and of an image."""
        found = super().uses(backbone, tokens)
        for tower, config in _vision_towers(backbone):
            patches = patches_of(config)
            found |= {m: patches + 1 for m in tower.modules() if m in found}
            found |= {m: patches for m in tower.embeddings.modules() if m in found}
        return found | {m: 1 for name, m in backbone.named_children() if name.endswith("projection")}

    def pairs(self, backbone: Any, tokens: int) -> dict[nn.Module, float]:
        """Of a text of ``tokens`` tokens and of an image."""
        found = super().pairs(backbone, tokens)
        for tower, config in _vision_towers(backbone):
            found |= {m: (patches_of(config) + 1) ** 2 for m in tower.modules() if m in found}
        return found


def _vision_towers(backbone: Any) -> list[tuple[Any, Any]]:
    if hasattr(backbone, "vision_model"):
        return [(backbone.vision_model, backbone.config.vision_config)]
    return [(backbone, backbone.config)] if hasattr(backbone.config, "patch_size") else []


def patches_of(config: Any) -> int:
    """Patches of an image."""
    size, patch = (
        v if isinstance(v, (list, tuple)) else (v, v) for v in (config.image_size, config.patch_size)
    )
    return (size[0] // patch[0]) * (size[1] // patch[1])


def extra_tokens(embeddings: nn.Module) -> int:
    """Tokens that stand for the whole image, beside its patches."""
    return sum(getattr(embeddings, name, None) is not None for name in ("cls_token", "distillation_token"))
