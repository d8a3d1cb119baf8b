"""What a model learns by: losses between a student and its teacher or the ground truth."""

from __future__ import annotations

from ...registry import Registry
from .base import Loss, Match
from .functional import attention_loss, cosine_loss, feature_loss, prediction_loss, truth_loss

registry: Registry[Loss] = Registry("loss", Loss, "prunekit.distill.losses")
register = registry.register

__all__ = [
    "Loss",
    "Match",
    "attention_loss",
    "cosine_loss",
    "feature_loss",
    "prediction_loss",
    "register",
    "registry",
    "truth_loss",
]
