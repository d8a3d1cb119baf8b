"""Stages: what a recipe runs. Each reads models and writes models."""

from __future__ import annotations

from ..registry import Registry
from .base import Stage, StageConfig, StageContext

registry: Registry[Stage] = Registry("stage", Stage, "prunekit.stages")
register = registry.register

from .pipeline import run_recipe  # noqa: E402 - after what the stages register with

__all__ = ["Stage", "StageConfig", "StageContext", "register", "registry", "run_recipe"]
