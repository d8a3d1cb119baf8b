"""Distillation: losses, and teachers that are asked or that were asked once and remembered."""

from .cache import CachedTeacher, cache_size, fingerprint
from .losses import feature_loss, prediction_loss, truth_loss
from .teachers import LiveTeacher, Teacher, TeacherOutput, model_inputs

__all__ = [
    "CachedTeacher",
    "LiveTeacher",
    "Teacher",
    "TeacherOutput",
    "cache_size",
    "feature_loss",
    "fingerprint",
    "model_inputs",
    "prediction_loss",
    "truth_loss",
]
