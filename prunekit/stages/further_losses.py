"""Losses that a recipe names beside the weights that a stage has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

if TYPE_CHECKING:
    from .base import StageConfig
    from .training.objectives import Term

Spec = str | dict[str, Any]


def further_terms(specs: Sequence[Spec], since: float = 0.0) -> list[Term]:
    """Of names, or mappings of name, weight (1) and arguments.

    Args:
        specs: as in a recipe.
        since: of those that are counted by exit; those by layer count from the beginning.

    Raises:
        RecipeError: a loss cannot be made of its specification.
    """
    if not specs:
        return []  # a recipe is read without torch
    from .training.objectives import term_of

    return [term_of(spec, since) for spec in specs]


def checked_terms(config: StageConfig, specs: Sequence[Spec]) -> list[Term]:
    """:func:`further_terms` of a stage.

    Raises:
        ValueError: they do not fit it. Some losses have a key of their own there, two cannot have one name in
            the logs, and those between models of other sizes are for the stage that has a ``layer_map``.
    """
    terms = further_terms(specs)
    if not terms:
        return []
    from ..distill.losses import registry
    from ..distill.losses.features import Features

    keys = type(config).model_fields
    own = {name: registry.get(name) for name in registry.names() if name in keys}
    labels = [part.label for part in own.values()]
    for term in terms:
        for name, part in own.items():
            if type(term.loss) is part:
                raise ValueError(f"losses: {name} has a key of its own here, {name}: WEIGHT")
        if term.loss.needs_match and "layer_map" not in keys:
            raise ValueError(f"losses: {term.name} is of the stage distill; here use features")
        if isinstance(term.loss, Features) and "layer_map" in keys:
            raise ValueError("losses: features compares layer with layer; here use hidden")
        if term.name in labels:
            raise ValueError(f"losses: {term.name} is the name of another one: give the class its own label")
        labels.append(term.name)
    return terms


def _buildable(specs: list[Spec]) -> list[Spec]:
    further_terms(specs)
    return specs


FurtherLosses = Annotated[
    list[Spec],
    AfterValidator(_buildable),
    Field(
        description="losses beside these: names, or mappings of name, weight (1) and arguments, e.g. "
        "[{name: my_package.losses:Mine, weight: 0.5}]"
    ),
]
