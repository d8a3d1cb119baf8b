"""YAML that remembers where every key was set.

Scalars follow YAML 1.2's core schema, not PyYAML's 1.1 default: ``1e-5`` is a number, and ``no``, ``off``
and ``2024-01-01`` are words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from ..errors import RecipeError
from ..text import has_surrogates, shown

Path = tuple[str, ...]
Pair = tuple[yaml.Node, yaml.Node]

# Far more than any recipe holds; what is refused is an alias that expands without end.
_MAX_VALUES = 100_000
_TAGS = ("map", "seq", "null", "bool", "int", "float", "str")


@dataclass(frozen=True)
class Location:
    """Where a value was set: a place in a file, or an override on the command line."""

    source: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Source:
    """A parsed mapping and the location of each of its keys, by path (list positions as digits)."""

    data: dict[str, Any]
    marks: dict[Path, Location]


class _Loader(yaml.SafeLoader):
    """Safe loader with YAML 1.2 scalars."""


class _Dumper(yaml.SafeDumper):
    """Safe dumper whose plain scalars :class:`_Loader` reads back as what they were."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML writes these line breaks and marks bare in every style but this one, and loses them in reading.
    style = '"' if _UNICODE_BREAKS & set(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_UNICODE_BREAKS = set("\x85\u2028\u2029\ufeff")
_Dumper.add_representer(str, _represent_text)


_RESOLVERS = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("tag:yaml.org,2002:int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("tag:yaml.org,2002:merge", r"<<", ["<"]),
)
# What a scalar with a tag of its own may say: by the same rules as without one.
_FITTING = {tag.rpartition(":")[2]: re.compile(pattern) for tag, pattern, _ in _RESOLVERS}

for _class in (_Loader, _Dumper):
    _class.yaml_implicit_resolvers = {}
    for _tag, _pattern, _first in _RESOLVERS:
        _class.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), _first)


def dump(data: Mapping[str, Any]) -> str:
    """``data`` as YAML, keys in their order."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def parse(text: str, name: str) -> Source:
    """Parse a YAML document whose root is a mapping.

    Args:
        text: the document.
        name: what it is called in messages, e.g. its path.

    Raises:
        RecipeError: it is not YAML, not a mapping, or has a key twice.
    """
    marks: dict[Path, Location] = {}
    loader, node = _compose(text, name)
    if node is None:
        raise RecipeError(
            f"{name}: the file is empty", "a recipe is a mapping of keys, see recipes/costeff.yaml"
        )
    if not isinstance(node, yaml.MappingNode):
        raise RecipeError(
            f"{name}:{node.start_mark.line + 1}: expected a mapping (key: value), found {_kind(node)}"
        )
    data = _Builder(loader, name, marks).build(node, (), ())
    return Source(data, marks)


def parse_value(text: str, name: str) -> Any:
    """Parse one YAML value, e.g. the right side of an override."""
    loader, node = _compose(text, name)
    return None if node is None else _Builder(loader, name, {}).build(node, (), ())


def _compose(text: str, name: str) -> tuple[_Loader, yaml.Node | None]:
    try:
        loader = _Loader(text)
        return loader, loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise RecipeError(f"{name}{place}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{name}: not valid YAML: {str(error).splitlines()[0]}") from error
    except RecursionError:
        raise RecipeError(f"{name}: not valid YAML: nested too deeply") from None


class _Builder:
    """Turns nodes into values, marking where each was set."""

    def __init__(self, loader: _Loader, name: str, marks: dict[Path, Location]) -> None:
        self.loader = loader
        self.name = name
        self.marks = marks
        self.values = 0
        self._flat: dict[int, dict[str, Pair]] = {}

    def build(self, node: yaml.Node, path: Path, outer: tuple[int, ...]) -> Any:
        self.values += 1
        if id(node) in outer or self.values > _MAX_VALUES:
            raise RecipeError(f"{self._place(node)}: {_dotted(path)}: an alias that never ends")
        outer = (*outer, id(node))
        tag = node.tag.removeprefix("tag:yaml.org,2002:")
        if tag not in _TAGS:
            raise RecipeError(
                f"{self._place(node)}: {_dotted(path)}: the tag {node.tag!r} is not read",
                "recipes hold plain text, numbers, true, false, null, lists and mappings",
            )
        if not _fits(tag, node):
            raise RecipeError(
                f"{self._place(node)}: {_dotted(path)}: {_kind(node)} does not fit the tag !!{tag}",
                "leave the tag out",
            )
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, outer)
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, item in enumerate(node.value):
                self._mark((*path, str(index)), item)
                items.append(self.build(item, (*path, str(index)), outer))
            return items
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path, outer: tuple[int, ...]) -> dict[str, Any]:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self._key(key_node, path)
            if key in lines and key_node.tag != "tag:yaml.org,2002:merge":
                raise RecipeError(
                    f"{self._place(key_node)}: {_dotted((*path, key))}: the key is there twice, "
                    f"first in line {lines[key]}",
                    "keep one of the two",
                )
            lines[key] = key_node.start_mark.line + 1
        result = {}
        for key, (key_node, value_node) in self._pairs(node, path, outer).items():
            here = (*path, key)
            self._mark(here, key_node)
            result[key] = self.build(value_node, here, outer)
        return result

    def _pairs(self, node: yaml.MappingNode, path: Path, outer: tuple[int, ...]) -> dict[str, Pair]:
        """Key -> its nodes, with what is merged in (``<<``); of two values its own counts, then the first."""
        if id(node) in self._flat:
            return self._flat[id(node)]
        merged: dict[str, Pair] = {}
        own: dict[str, Pair] = {}
        for key_node, value_node in node.value:
            if key_node.tag != "tag:yaml.org,2002:merge":
                own[self._key(key_node, path)] = (key_node, value_node)
                continue
            found: dict[str, Pair] = {}
            for inner in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                if not isinstance(inner, yaml.MappingNode) or id(inner) in outer:
                    raise RecipeError(
                        f"{self._place(inner)}: {_dotted(path)}: << merges mappings, found {_kind(inner)}"
                        + (" around itself" if id(inner) in outer else "")
                    )
                found = {**self._pairs(inner, path, (*outer, id(inner))), **found}
            merged |= found
        self._flat[id(node)] = {**merged, **own}
        return self._flat[id(node)]

    def _key(self, node: yaml.Node, path: Path) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise RecipeError(f"{self._place(node)}: {_dotted(path)}: a key is a word, not {_kind(node)}")
        return self._text(str(node.value), node, path)

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        try:
            value = self.loader.construct_object(node)
        except (yaml.YAMLError, ValueError, KeyError, OverflowError) as error:
            raise RecipeError(
                f"{self._place(node)}: {_dotted(path)}: cannot read {_shortly(node.value)}"
            ) from error
        return self._text(value, node, path) if isinstance(value, str) else value

    def _text(self, text: str, node: yaml.Node, path: Path) -> str:
        r"""A text that a file can hold: the two halves of a pair, as JSON writes them, are one character."""
        if not has_surrogates(text):
            return text
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise RecipeError(
                f"{self._place(node)}: {_dotted(path)}: {_shortly(text)} holds half of a surrogate pair, "
                "which is no character: no file can hold it",
                r"write the character itself, or \U and its number in eight digits",
            ) from None

    def _mark(self, path: Path, node: yaml.Node) -> None:
        self.marks[path] = Location(self.name, node.start_mark.line + 1, node.start_mark.column + 1)

    def _place(self, node: yaml.Node) -> Location:
        return Location(self.name, node.start_mark.line + 1, node.start_mark.column + 1)


def _fits(tag: str, node: yaml.Node) -> bool:
    """Whether a tag, given or found, is one of what the node is."""
    if isinstance(node, yaml.MappingNode) or tag == "map":
        return tag == "map" and isinstance(node, yaml.MappingNode)
    if isinstance(node, yaml.SequenceNode) or tag == "seq":
        return tag == "seq" and isinstance(node, yaml.SequenceNode)
    if tag == "float" and _FITTING["int"].fullmatch(node.value):
        return True
    return tag == "str" or _FITTING[tag].fullmatch(node.value) is not None


def _shortly(text: str) -> str:
    return shown(repr(text if len(text) <= 60 else text[:57] + "..."))


def _dotted(path: Path) -> str:
    return ".".join(path) or "the recipe"


def _kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return "a list" if isinstance(node, yaml.SequenceNode) else f"the value {_shortly(node.value)}"
