"""Distillation: losses, and teachers that are asked or that were asked once and remembered."""

from .cache import CachedTeacher, cache_folder, cache_size, fingerprint, forget_answers, writing_alone
from .losses import Loss, attention_loss, cosine_loss, feature_loss, prediction_loss, truth_loss
from .teachers import LiveTeacher, Teacher, TeacherOutput, model_inputs

__all__ = [
    "CachedTeacher",
    "LiveTeacher",
    "Loss",
    "Teacher",
    "TeacherOutput",
    "attention_loss",
    "cache_folder",
    "cache_size",
    "cosine_loss",
    "feature_loss",
    "fingerprint",
    "forget_answers",
    "model_inputs",
    "prediction_loss",
    "truth_loss",
    "writing_alone",
]
