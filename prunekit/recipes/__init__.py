"""Recipes: YAML that says what to do, checked before anything is done."""

from __future__ import annotations

from ..shipped import shipped_recipes
from .expansion import Candidate, ComparedRun, expand, naming_system
from .loading import find_recipe, load_recipe, recipe_from_mapping
from .schema import Recipe, json_schema
from .source import dump

__all__ = [
    "Candidate",
    "ComparedRun",
    "Recipe",
    "dump",
    "expand",
    "find_recipe",
    "json_schema",
    "load_recipe",
    "naming_system",
    "recipe_from_mapping",
    "shipped_recipes",
]
