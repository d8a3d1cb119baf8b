"""The contract of a granularity."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from ..groups import Group


class Granularity(ABC):
    """Finds the groups of one kind in a model; the groups know how to slim themselves."""

    @abstractmethod
    def groups(self, model: nn.Module) -> list[Group]:
        """All groups of this kind, in the order of the layers.

        Raises:
            UnsupportedModelError: the model has no such structure.
        """
