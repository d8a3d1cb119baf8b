"""A run: the folder of one application of a recipe.

    runs/<name>/
        recipe.yaml      resolved
        run.json         versions, seed, machine, command, and commands that compared it with more later
        data.json        digests of the examples and models it began with
        computing.json   threads, processes and the like that it computes with, however often it goes on
        metrics.jsonl    one line for each measurement
        stages/1-finetune/, 2-assistant/, ...
        model/, report/
        kept.json        what a grid of its own chose, over recipe.yaml
        done.json        there once everything is; a stage's says what every file of it holds

A run that was stopped, in whatever way, is continued by applying the same recipe again.
"""

from __future__ import annotations

from .checking import check_result, damage, models_of, record_changed
from .data import check_data
from .reading import compared_with, info_of, is_done, kept_settings, mark_done, recipe_of
from .run import Run

__all__ = [
    "Run",
    "check_data",
    "check_result",
    "compared_with",
    "damage",
    "info_of",
    "is_done",
    "kept_settings",
    "mark_done",
    "models_of",
    "recipe_of",
    "record_changed",
]
