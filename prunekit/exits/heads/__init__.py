"""What stands on a layer to make a prediction: exit heads."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from ...registry import Registry
from .base import ExitHead, Reads

registry: Registry[ExitHead] = Registry("exit head", ExitHead, "prunekit.exits.heads")
register = registry.register

__all__ = ["ExitHead", "HeadName", "Reads", "register", "registry"]


def _known(name: str) -> str:
    """A wrong name is refused before any compute."""
    registry.get(name)
    return name


HeadName = Annotated[str, AfterValidator(_known)]
