"""A recipe as plain data, from which another process makes an equal one that knows the same places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

from .schema import Recipe
from .source import Location, Source
from .validation import validate


def to_plain(recipe: Recipe) -> dict[str, Any]:
    """Its settings, and where each was set."""
    marks = [[list(path), *astuple(place)] for path, place in recipe._marks.items()]
    return {"settings": recipe.resolved(), "marks": marks, "origin": recipe._origin}


def from_plain(data: Mapping[str, Any]) -> Recipe:
    """The recipe that :func:`to_plain` was given.

    Raises:
        RecipeError: naming keys that mean nothing here.
    """
    marks = {tuple(path): Location(*place) for path, *place in data["marks"]}
    return validate(Source(data["settings"], marks), data["origin"])
