"""A finished run of a comparison, and what decided its result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..recipes import ComparedRun, Recipe
from ..recipes.differences import flat

# What may differ between two runs of a system besides the seed.
_FREE = ("name", "description", "output", "compare", "seed", "data.seed")
_FREE_OF_TRAINING = ("training.threads", "training.eval_batch_size", "training.checkpoint_seconds")


@dataclass(frozen=True)
class Finished:
    """A run of a comparison that is there.

    Attributes:
        run: what it is a run of.
        recipe: which of the run's candidates it is.
        tried: settings that were trained to find it.
    """

    run: ComparedRun
    recipe: Recipe
    tried: int = 1

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.run.folder


def deciding(recipe: Recipe) -> dict[str, Any]:
    """Dotted key -> value, of what decides a run's result besides its seed."""
    found = flat({key: value for key, value in recipe.resolved().items() if key not in _FREE})
    return {key: value for key, value in found.items() if key not in (*_FREE, *_FREE_OF_TRAINING)}
