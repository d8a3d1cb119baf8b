"""What a recipe may say.

The fixed part is :class:`Recipe`; every registered stage adds one key, whose values are the stage's own
``Config``. So the model a recipe is validated with is made from the stages there are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, create_model

from ..data.config import DataConfig
from ..exits.config import ExitsConfig
from ..models import ModelConfig
from ..stages import registry as stages
from ..stages.config import TrainingConfig
from .comparing import NAME_PATTERN, CompareConfig
from .source import Location, Path, dump

_KEY_PATTERN = re.compile(r"[a-z][a-z0-9_]*")


class Recipe(BaseModel):
    """A validated recipe. ``recipe.config(key)`` is the configuration of a stage."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    name: str = Field(
        pattern=NAME_PATTERN, description="name of the run; the recipe's file name when omitted"
    )
    description: str = Field("", description="one or two sentences, shown by plan")
    seed: int = Field(42, ge=0, lt=2**32, description="the only source of randomness")
    output: str = Field("runs", min_length=1, description="folder that holds the runs' folders")
    model: ModelConfig
    data: DataConfig = Field(default_factory=DataConfig)
    exits: ExitsConfig = Field(default_factory=ExitsConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    stages: list[str] = Field(min_length=1, max_length=100, description="the stages, in the order they run")
    shares: list[str | dict[str, Any]] = Field(
        default_factory=list,
        description="what this recipe takes from another that is compared with it, so that both have the "
        "same sizes and epochs: [shares](compare.md#fair-by-construction)",
    )
    compare: CompareConfig | None = Field(None, description="what the model is compared with")

    _uses: dict[str, str] = PrivateAttr(default_factory=dict)
    _marks: dict[Path, Location] = PrivateAttr(default_factory=dict)
    _origin: str = PrivateAttr(default="recipe")
    _notes: list[str] = PrivateAttr(default_factory=list)

    def config(self, key: str) -> BaseModel:
        """Configuration of the stage under ``key``, an instance of its class' ``Config``."""
        config = getattr(self, key)
        assert isinstance(config, BaseModel)
        return config

    def stage_class(self, key: str) -> type[Any]:
        """Class of the stage under ``key``: the one its ``uses:`` names, else the one of that name."""
        return stages.get(self.uses(key))

    def uses(self, key: str) -> str:
        """Registered name of the stage under ``key``."""
        return self._uses.get(key, key)

    @property
    def notes(self) -> list[str]:
        """What a person should know, such as keys that have no effect here."""
        return list(self._notes)

    def location(self, *path: str) -> str:
        """Where a key was set, e.g. ``"recipes/costeff.yaml:12:3: slenderize.heads"``."""
        return describe(path, self._marks, self._origin)

    def is_set(self, *path: str) -> bool:
        """Whether a file or an override set the key."""
        return path in self._marks

    def resolved(self) -> dict[str, Any]:
        """Everything the run depends on, defaults included; loads as an equal recipe."""
        fixed = list(Recipe.model_fields)
        keys = list(dict.fromkeys(self.stages))
        data = self.model_dump(mode="json", include={*fixed, *keys})
        ordered = {key: data[key] for key in [*fixed, *keys]}
        for key, name in self._uses.items():
            if key in ordered:
                ordered[key] = {"uses": name, **ordered[key]}
        return ordered

    def to_yaml(self) -> str:
        """:meth:`resolved` as YAML."""
        return dump(self.resolved())


def recipe_model(uses: Mapping[str, str] | None = None) -> type[Recipe]:
    """The class that recipes are validated with.

    Args:
        uses: keys that are not a stage's registered name -> the registered name they stand for.
    """
    keys = {name: name for name in stages.names()} | dict(uses or {})
    fields: dict[str, Any] = {}
    for key, name in keys.items():
        config = stages.get(name).Config
        help_text = (stages.get(name).__doc__ or name).strip().split("\n", 1)[0]
        fields[key] = (config | None, Field(None, description=help_text))
    return create_model("Recipe", __base__=Recipe, **fields)


def valid_key(key: str) -> bool:
    """Whether ``key`` can name a stage of a recipe."""
    return bool(_KEY_PATTERN.fullmatch(key)) and key not in Recipe.model_fields and not hasattr(Recipe, key)


def describe(path: tuple[str, ...], marks: Mapping[Path, Location], origin: str) -> str:
    """``location: key``, with the location of the nearest enclosing key that was set somewhere."""
    dotted = ".".join(path)
    for length in range(len(path), 0, -1):
        place = marks.get(path[:length])
        if place is not None:
            return str(place) if str(place).endswith(f": {dotted}") else f"{place}: {dotted}"
    return f"{origin}: {dotted}" if dotted else origin


def json_schema() -> dict[str, Any]:
    """JSON Schema of recipes, for editors that complete and check YAML."""
    schema = recipe_model().model_json_schema()
    schema["properties"]["extends"] = {
        "type": "string",
        "description": "a recipe to start from: a path beside this file, or the name of a shipped recipe",
    }
    # The file's name stands in where it is omitted.
    schema["required"] = [key for key in schema.get("required", []) if key not in ("name", "model", "stages")]
    schema["title"] = "prunekit recipe"
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return schema
