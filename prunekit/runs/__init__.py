"""A run: the folder of one application of a recipe.

    runs/<name>/
        recipe.yaml      resolved
        run.json         versions, seed, machine, command, and commands that compared it with more later
        metrics.jsonl    one line for each measurement
        stages/1-finetune/, 2-assistant/, ...
        model/, report/
        kept.json        what a grid of its own chose, over recipe.yaml
        done.json        there once everything is

A run that was stopped, in whatever way, is continued by applying the same recipe again.
"""

from __future__ import annotations

from .reading import compared_with, info_of, is_done, kept_settings, mark_done, recipe_of
from .run import Run

__all__ = ["Run", "compared_with", "info_of", "is_done", "kept_settings", "mark_done", "recipe_of"]
