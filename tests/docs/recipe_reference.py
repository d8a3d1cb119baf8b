"""The reference tables of docs/recipes.md, made from the schemas.

python tests/docs/recipe_reference.py     # rewrites them in place
"""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from prunekit.recipes.schema import Recipe, recipe_model
from prunekit.stages import registry as stages

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
TOP = "top"
ORDER = (
    "model", "data", "exits", "training",
    "finetune", "train_exits", "assistant", "slenderize", "recover", "evaluate",
)  # fmt: skip


def sections() -> dict[str, list[str]]:
    """Section of the recipe -> the lines of its table."""
    model = recipe_model()
    own = {name: field for name, field in model.model_fields.items() if _schema_of(field.annotation) is None}
    found = {TOP: own}
    nested = [name for name in model.model_fields if name not in own]
    for name in sorted(nested, key=lambda n: ORDER.index(n) if n in ORDER else len(ORDER)):
        schema = _schema_of(model.model_fields[name].annotation)
        assert schema is not None
        found[name] = _flat(schema)
    return {name: _table(fields) for name, fields in found.items()}


def rewritten(page: str) -> str:
    """The page with every table between its markers made anew; one that is missing comes at the end."""
    for name, lines in sections().items():
        start, end = f"<!-- keys: {name} -->", f"<!-- end of keys: {name} -->"
        if start not in page:
            about = recipe_model().model_fields[name].description or ""
            page = "\n".join([page.rstrip(), "", f"### {name}", "", about, "", start, end, ""])
        before, _, rest = page.partition(start)
        _, ended, after = rest.partition(end)
        if not ended:
            raise LookupError(f"{PAGE.name} has no {end}")
        page = before + "\n".join([start, *lines, end]) + after
    return page


def _flat(schema: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    # A schema's own keys first, then those it shares with others.
    own = {name: field for name, field in schema.model_fields.items() if name in schema.__annotations__}
    fields: dict[str, FieldInfo] = {}
    for name, field in (own | schema.model_fields).items():
        inner = _schema_of(field.annotation)
        if inner is None or typing.get_origin(field.annotation) is dict:
            fields[f"{prefix}{name}"] = field
        if inner is not None:
            of_many = typing.get_origin(field.annotation) is dict
            fields |= _flat(inner, f"{prefix}{name}.NAME." if of_many else f"{prefix}{name}.")
    return fields


def _table(fields: dict[str, FieldInfo]) -> list[str]:
    rows = [
        f"| `{name}` | {_type(field)} | {_default(field)} | {field.description} |"
        for name, field in fields.items()
    ]
    return ["| key | value | default | meaning |", "| --- | --- | --- | --- |", *rows]


def _schema_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((s for a in typing.get_args(annotation) if (s := _schema_of(a)) is not None), None)


def _type(field: FieldInfo) -> str:
    return _words(field.annotation)


def _words(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _words(arguments[0])
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is list:
        return f"list of {_words(arguments[0])}"
    if origin is dict:
        return "mapping"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(a) for a in arguments if a is not type(None))
    return {str: "text", int: "whole number", float: "number", bool: "`true`, `false`"}[annotation]


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if value is None or value in ("", {}, []):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


if __name__ == "__main__":
    assert set(ORDER) <= {*Recipe.model_fields, *stages.names()}
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
