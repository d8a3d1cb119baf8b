"""Scores by lot: the baseline every other scorer must beat."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..arguments import whole
from ..dependency_graph import root_channels, root_name
from ..groups import Group
from . import register
from .base import Loss, Scorer, split_intrinsic


@register("random")
class Random(Scorer):
    """Uniform random numbers from a seed, no data needed: the baseline to beat.

    The numbers depend on the seed, the group's name and its size alone, not on what was scored before, so
    that a run that is resumed draws the same ones.

    Args:
        seed: any integer.
    """

    needs_data = False

    def __init__(self, seed: int = 0) -> None:
        self.seed = whole(seed, "random.seed")

    def score(
        self,
        model: nn.Module,
        groups: Sequence[Group],
        batches: Iterable[Any] = (),
        loss: Loss | None = None,
    ) -> dict[str, Tensor]:
        """As in :class:`Scorer`; ``batches`` and ``loss`` are not read."""
        rest, scores = split_intrinsic(groups)
        scores.update({g.name: self._draw(g.name, g.size) for g in rest})
        return {g.name: scores[g.name] for g in groups}

    def __call__(self, group: Any, **kwargs: Any) -> Tensor:
        """Random numbers for a torch-pruning group, by the name of its root module."""
        return self._draw(root_name(group), len(root_channels(group)))

    def _draw(self, name: str, size: int) -> Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(f"{self.seed}/{size}/{name}".encode()))
        return torch.rand(size, generator=generator)
