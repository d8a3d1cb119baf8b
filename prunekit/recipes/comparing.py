"""The ``compare:`` part of a recipe: which systems it is set against, on which tasks and seeds."""

from __future__ import annotations

import math
import re
from pathlib import PurePath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator

# Names become folders.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
# A task says what is trained on, not what the run is called or compared with.
_NOT_A_TASKS = ("name", "description", "output", "extends", "compare", "stages", "shares", "seed")
_NOT_A_SYSTEMS = ("name", "description", "output", "compare", "seed", "data")
_MOST_COMBINATIONS = 1000
_NOT_TRIED = (*_NOT_A_SYSTEMS, "model", "training", "extends", "stages", "shares", "label", "grid")


def _values_to_try(grid: dict[str, list[Any]]) -> dict[str, list[Any]]:
    for key, values in grid.items():
        if not values:
            raise ValueError(f"{key} has no values to try")
        if not all(part and part == part.strip() for part in key.split(".")):
            raise ValueError(f"{key!r} is not the dotted key of a setting")
        if key.split(".")[0] in _NOT_TRIED:
            raise ValueError(f"{key} is shared by all that is compared, and cannot be tried")
    combinations = math.prod(map(len, grid.values()))
    if combinations > _MOST_COMBINATIONS:
        raise ValueError(f"{combinations:,} combinations to try, at most {_MOST_COMBINATIONS:,} are")
    return grid


def _dotted(grid: dict[Any, Any]) -> dict[Any, Any]:
    """Mappings in mappings as dotted keys."""
    flat: dict[Any, Any] = {}
    for key, value in grid.items():
        inner = {f"{key}.{name}": v for name, v in _dotted(value).items()} if isinstance(value, dict) else {}
        flat.update(inner or {key: value})
    return flat


def _read_grid(grid: Any) -> Any:
    """Of a grid's two forms; an override with null turns it off."""
    if not isinstance(grid, dict):
        return {} if grid is None else grid
    flat = _dotted(grid)
    for key, values in flat.items():
        if not isinstance(values, list):
            raise ValueError(f"{key}: expected a list of values to try, for example {key}: [{values}]")
    return flat


Grid = Annotated[
    dict[str, list[Any]],
    BeforeValidator(_read_grid),
    AfterValidator(_values_to_try),
]


class _WithSettings(BaseModel):
    """A mapping whose other keys are settings of a recipe, checked when they are laid over one."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    @property
    def settings(self) -> dict[str, Any]:
        """The recipe's settings among the keys."""
        return dict(self.__pydantic_extra__ or {})


class SystemConfig(_WithSettings):
    """A system of a comparison. Its other keys are settings over the recipe that it extends."""

    extends: str | None = Field(
        None, description="a shipped recipe or a file beside this one; default: this very recipe"
    )
    shares: list[str | dict[str, Any]] | None = Field(
        None,
        description="stages and settings that it takes from the comparing recipe too, e.g. "
        "[slenderize.heads, {joint.epochs: assistant.epochs}]; default: what the "
        "recipe that it extends says in its own shares",
    )
    label: str | None = Field(None, description="what tables and figures call it; default: its name")
    grid: Grid = Field(
        default_factory=dict,
        description="dotted keys with the values to try: all combinations are trained with the first seed, "
        "and the one with the best validation score is kept, e.g. {finetune.learning_rate: [3e-5, 1e-4]}",
    )


class TaskSettings(_WithSettings):
    """A task of a comparison: its keys are settings over the recipe and every system."""

    otherwise: dict[str, Any] = Field(
        default_factory=dict,
        description="filled in by prunekit: the recipe's own values of what the first task sets",
    )


class CompareConfig(BaseModel):
    """What a recipe's model is compared with."""

    model_config = ConfigDict(extra="forbid")

    label: str | None = Field(
        None, description="what tables and figures call the recipe's own model; default: the run's name"
    )
    systems: dict[str, SystemConfig] = Field(
        default_factory=dict,
        description="name -> a system; or a list of shipped recipes and files",
    )
    grid: Grid = Field(
        default_factory=dict,
        description="what is tried for the recipe's own model, as in a system's grid",
    )
    tried_before: str | None = Field(
        None,
        description="words for the report: what was tried before this comparison to find its settings, of "
        "whom, and judged by what",
    )
    seeds: list[int] | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="training seeds, the recipe's own first; default: the recipe's alone",
    )
    tasks: dict[str, TaskSettings] = Field(
        default_factory=dict,
        description="name -> settings of a task, e.g. data and epochs, laid over the recipe and all systems; "
        "the first is the recipe's own",
    )

    @field_validator("systems", mode="before")
    @classmethod
    def _as_mapping(cls, value: Any) -> Any:
        """A list of recipes: each is called as it is."""
        if value is None:
            return {}
        if not isinstance(value, list):
            return _no_settings_as_empty(value)
        if not all(isinstance(item, str) for item in value):
            raise ValueError(
                "a list of systems holds names of recipes; to give settings, map name -> settings"
            )
        names = [PurePath(item).name.removesuffix(".yaml") for item in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is there twice; map two names of your own to it instead")
        return {name: {"extends": item} for name, item in zip(names, value, strict=True)}

    @field_validator("systems", "tasks")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, entry in value.items():
            if not re.match(NAME_PATTERN, name):
                raise ValueError(
                    f"{name!r} cannot name a folder: letters, digits, . _ - after a first letter"
                )
            refused = _NOT_A_SYSTEMS if isinstance(entry, SystemConfig) else _NOT_A_TASKS
            wrong = [key for key in entry.settings if key in refused]
            if wrong:
                raise ValueError(f"{name}: {wrong[0]} is shared by all that is compared, not set here")
        return value

    @field_validator("tasks", mode="before")
    @classmethod
    def _empty_tasks(cls, value: Any) -> Any:
        return _no_settings_as_empty(value)

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int] | None) -> list[int] | None:
        for seed in seeds or ():
            if not 0 <= seed < 2**32:
                raise ValueError(f"{seed} is no seed: expected a number from 0 to 4294967295")
        if seeds is not None and len(set(seeds)) != len(seeds):
            raise ValueError(f"seeds must differ from each other: {seeds}")
        return seeds


def _no_settings_as_empty(value: Any) -> Any:
    """``name:`` with nothing behind it is an entry without settings."""
    return {key: {} if v is None else v for key, v in value.items()} if isinstance(value, dict) else value
