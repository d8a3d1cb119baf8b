"""From a parsed source to a :class:`Recipe`, or one message that names every wrong key and its place."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from ..errors import PrunekitError, RecipeError
from ..stages import registry as stages
from .schema import Recipe, describe, recipe_model, valid_key
from .source import Source

_LONGEST = 60


def validate(source: Source, origin: str) -> Recipe:
    """The recipe that ``source`` holds.

    Args:
        source: data without ``extends``, and where its keys were set.
        origin: file name for what was set nowhere.

    Raises:
        RecipeError: listing all that is wrong, one line each.
    """
    data = dict(source.data)
    uses = _take_uses(data, source, origin)
    keys = _check_stages(data, uses, source, origin)
    for key in keys:
        # A stage that is asked for but not configured runs with its defaults.
        if data.get(key) is None:
            data[key] = {}
    for key in ("model", "data", "exits", "training"):
        if key in data and data[key] is None:
            data[key] = {}
    model = recipe_model(uses)
    try:
        recipe = model.model_validate(data)
    except ValidationError as error:
        raise RecipeError(*_translate(error, model, data, source, origin)) from error
    _check_order(recipe, uses, source, origin)
    recipe._uses = uses
    recipe._marks = dict(source.marks)
    recipe._origin = origin
    configured = [key for key in data if key not in Recipe.model_fields and key not in keys]
    recipe._notes = [
        f"{describe((key,), source.marks, origin)}: has no effect, the stage is not in stages"
        for key in configured
    ]
    return recipe


def _take_uses(data: dict[str, Any], source: Source, origin: str) -> dict[str, str]:
    """Remove ``uses`` from the stages' mappings: key -> registered name, for keys that differ from it."""
    uses: dict[str, str] = {}
    for key, value in data.items():
        if key in Recipe.model_fields or not isinstance(value, dict) or "uses" not in value:
            continue
        rest = dict(value)
        name = rest.pop("uses")
        place = describe((key, "uses"), source.marks, origin)
        if not isinstance(name, str):
            raise RecipeError(f"{place}: expected the name of a stage, found {_shown(name)}")
        if not valid_key(key):
            raise RecipeError(
                f"{place}: a stage cannot be called {key!r}", "use lower-case letters, digits and _"
            )
        try:
            stages.get(name)
        except RecipeError as error:
            raise RecipeError(f"{place}: {error.message}", error.mend) from error
        data[key] = rest
        if name != key:
            uses[key] = name
    return uses


def _check_stages(data: Mapping[str, Any], uses: Mapping[str, str], source: Source, origin: str) -> list[str]:
    """The keys in ``stages``; each must be a registered stage or use one."""
    listed = data.get("stages")
    if not isinstance(listed, list):
        return []  # refused with all else by the schema
    known = [*stages.names(), *uses]
    for index, key in enumerate(listed):
        if isinstance(key, str) and key not in known:
            raise RecipeError(
                f"{describe(('stages', str(index)), source.marks, origin)}: unknown stage {key!r}",
                f"{_guess(key, known)}known: {', '.join(known)}; "
                f"a stage under a name of its own says which it is: {key}: {{uses: recover}}",
            )
    return list(dict.fromkeys(key for key in listed if isinstance(key, str)))


def _check_order(recipe: Recipe, uses: Mapping[str, str], source: Source, origin: str) -> None:
    """Every model that a stage reads is written by a stage before it."""
    there: list[str] = []
    for index, key in enumerate(recipe.stages):
        stage = stages.get(uses.get(key, key))(recipe.config(key))
        missing = [role for role in stage.needs if role not in there]
        if missing:
            role = missing[0]
            kinds = {name: stages.get(name) for name in stages.names()}
            givers = [n for n, kind in kinds.items() if role in kind.gives and role not in kind.needs]
            place = describe(("stages", str(index)), source.marks, origin)
            raise RecipeError(
                f"{place}: {key} needs {'a' if role == 'model' else f'the {role}'} model, and no stage "
                "before it gives one",
                f"put one of these before it: {', '.join(givers)}",
            )
        there.extend(stage.gives)


def _translate(
    error: ValidationError, model: type[BaseModel], data: Mapping[str, Any], source: Source, origin: str
) -> tuple[str, str | None]:
    """The message, and the mend where there is one error only; several carry their mends themselves."""
    problems: dict[tuple[str, ...], list[tuple[str, str | None]]] = {}
    for item in error.errors(include_url=False):
        path = _existing(item["loc"], data, keep_last=item["type"] in ("extra_forbidden", "missing"))
        problems.setdefault(path, []).append(_explain(dict(item), path, model))
    lines: list[tuple[str, str | None]] = []
    for path, found in problems.items():
        # The members of a union each say what they expected: one line for them all.
        first, *others = dict.fromkeys(text for text, _ in found)
        what = " or ".join([first, *(text.removeprefix("expected ") for text in others)])
        mend = next((text for _, text in found if text), None)
        shown = _input(error, path, data) if what.startswith("expected") and "found" not in what else ""
        lines.append((f"{describe(path, source.marks, origin)}: {what}{shown}", mend))
    if len(lines) == 1:
        return lines[0]
    return "\n".join(f"{text} ({mend})" if mend else text for text, mend in lines), None


def _explain(
    item: Mapping[str, Any], path: tuple[str, ...], model: type[BaseModel]
) -> tuple[str, str | None]:
    if item["type"] == "extra_forbidden":
        known = _keys_at(model, path[:-1])
        return "unknown key", f"{_guess(path[-1], known)}known: {', '.join(known)}" if known else None
    if item["type"] == "missing":
        return "this key is required and missing", None
    cause = item.get("ctx", {}).get("error")
    if isinstance(cause, PrunekitError):
        return cause.message, cause.mend
    if isinstance(cause, Exception):
        return str(cause), None
    if item["type"] in ("model_type", "dict_type"):
        return "expected a mapping (key: value)", None
    if item["type"] == "list_type":
        one = isinstance(item["input"], (str, int, float))
        return "expected a list", f"in brackets: {'.'.join(path)}='[{item['input']}]'" if one else None
    if item["type"] == "too_short":
        return f"expected at least {item['ctx']['min_length']}, found {item['ctx']['actual_length']}", None
    message: str = item["msg"]
    if message.startswith("Input should be "):
        message = "expected " + message.removeprefix("Input should be ")
    message = message.replace("a valid integer", "an integer").replace("a valid ", "a ")
    return message.partition(", unable to parse")[0].partition(", got ")[0], None


def _input(error: ValidationError, path: tuple[str, ...], data: Mapping[str, Any]) -> str:
    value: Any = data
    for part in path:
        value = value[int(part)] if isinstance(value, list) else value[part]
    return f", found {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _existing(loc: Iterable[int | str], data: Any, keep_last: bool) -> tuple[str, ...]:
    """pydantic's location without the names of union members it puts in between."""
    parts = list(loc)
    path: list[str] = []
    for index, part in enumerate(parts):
        if _has(data, part):
            data = data[part]
        elif not (keep_last and index == len(parts) - 1):
            continue
        path.append(str(part))
    return tuple(path)


def _has(data: Any, part: int | str) -> bool:
    if isinstance(data, list):
        return isinstance(part, int) and part < len(data)
    return isinstance(data, dict) and part in data


def _keys_at(model: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    """Keys that the mapping at ``path`` may have; empty where any will do."""
    for part in path:
        field = model.model_fields.get(part)
        inner = None if field is None else _model_in(field.annotation)
        if inner is None:
            return []
        model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in typing.get_args(annotation):
        found = _model_in(argument)
        if found is not None:
            return found
    return None


def _guess(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]!r}? " if close else ""
