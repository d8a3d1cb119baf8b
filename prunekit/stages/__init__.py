"""Stages: what a recipe runs. Each reads models and writes models."""

from ..registry import Registry
from .base import Stage, StageConfig, StageContext

registry: Registry[Stage] = Registry("stage", Stage, __name__)
register = registry.register
get, names, entries = registry.get, registry.names, registry.entries

__all__ = ["Stage", "StageConfig", "StageContext", "entries", "get", "names", "register", "registry"]
