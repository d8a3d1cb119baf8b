"""The contract of a granularity."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

from torch import nn

from ..groups import Group


class Granularity(ABC):
    """Finds the groups of one kind in a model; the groups know how to slim themselves.

    Attributes:
        gives_way: where another granularity's groups own the same, this one's are left out, and said so in
            ``excluded``; otherwise such granularities do not go together.
    """

    gives_way: bool = False

    @cached_property
    def excluded(self) -> dict[str, str]:
        """What :meth:`groups` left out: its name in the model -> why, in words. By default nothing."""
        return {}

    @abstractmethod
    def groups(self, model: nn.Module) -> list[Group]:
        """All groups of this kind, in the order of the layers.

        Raises:
            UnsupportedModelError: the model has no such structure.
        """
