"""Named parts, open to other packages.

Each family of parts (scorers, granularities, ...) has one :class:`Registry`. Its built-in modules are
imported on the first look-up, never at ``import prunekit``; other packages add parts through the entry
point group ``prunekit.<folder>``; a part may also be named by its import path, ``package.module:Class``.

An import path is followed where a person says it: in a recipe of theirs, or in code. What a folder names is
looked up in :func:`registered_alone`: among the registered parts, and in modules that were imported already.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from .errors import PrunekitError, RecipeError, first_line
from .text import shown

T = TypeVar("T")

# Where import paths are looked for after all else: set by the command line to the folder one works in. It
# joins ``sys.path`` when the first is followed, and not before: a folder's files are not a library's modules.
import_folder: Path | None = None

_follows_paths: ContextVar[bool] = ContextVar("follows_paths", default=True)


@contextmanager
def registered_alone() -> Iterator[None]:
    """Import no module for a part in this block: what is read comes from a folder, not from a person."""
    token = _follows_paths.set(False)
    try:
        yield
    finally:
        _follows_paths.reset(token)


@dataclass(frozen=True)
class Entry:
    """One registered part, as ``prunekit list`` shows it."""

    name: str
    summary: str
    origin: str


class Registry(Generic[T]):
    """Parts of one kind by name.

    Args:
        kind: what one part is called in messages, e.g. ``"scorer"``.
        base: the class every part derives from.
        package: the package whose modules hold the built-in parts; also the entry-point group.
    """

    def __init__(self, kind: str, base: type[T], package: str) -> None:
        self.kind = kind
        self.base = base
        self.package = package
        self._parts: dict[str, type[T]] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Class decorator: make the class available under ``name``."""

        def add(part: type[T]) -> type[T]:
            known = self._parts.get(name)
            if known is not None and not _same(known, part):
                raise ValueError(
                    f"{self.kind} {name!r} is already registered by {known.__module__}.{known.__qualname__}"
                )
            self._parts[name] = part
            return part

        return add

    def get(self, name: str) -> type[T]:
        """The class registered under ``name``, or named by the import path ``module:Class``."""
        if ":" in name:
            return self._import(name)
        self._load()
        try:
            return self._parts[name]
        except KeyError:
            close = difflib.get_close_matches(name, self._parts, n=1)
            guess = f"did you mean {close[0]!r}? " if close else ""
            raise RecipeError(
                f"unknown {self.kind} {name!r}",
                f"{guess}known: {', '.join(sorted(self._parts))}; or an import path 'package.module:Class'",
            ) from None

    def build(self, spec: str | Mapping[str, Any] | T, **defaults: Any) -> T:
        """Make a part from a name or a mapping with ``name`` and arguments; an instance is passed on."""
        if isinstance(spec, self.base):
            return spec
        if isinstance(spec, str):
            name, arguments = spec, {}
        elif isinstance(spec, Mapping) and isinstance(spec.get("name"), str):
            name, arguments = spec["name"], {k: v for k, v in spec.items() if k != "name"}
        else:
            raise RecipeError(
                f"a {self.kind} is a name, a mapping with 'name', or a {self.base.__name__}, not {spec!r}"
            )
        part = self.get(name)
        self._check_arguments(name, part, arguments, defaults)
        try:
            return part(**{**defaults, **arguments})
        except (PrunekitError, MemoryError):
            raise
        except Exception as error:  # of any class: its arguments are what a person wrote
            raise RecipeError(
                f"{self.kind} {name!r} cannot be made with these arguments: {shown(first_line(error))}",
                f"it takes: {', '.join(inspect.signature(part).parameters) or 'nothing'}",
            ) from error

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._load()
        return sorted(self._parts)

    def entries(self) -> list[Entry]:
        """Every part with its one-line summary and the module it comes from."""
        self._load()
        return [
            Entry(name, (inspect.getdoc(part) or "").split("\n", 1)[0], part.__module__)
            for name, part in sorted(self._parts.items())
        ]

    def _check_arguments(
        self, name: str, part: type[T], arguments: Mapping[str, Any], defaults: Mapping[str, Any]
    ) -> None:
        parameters = inspect.signature(part).parameters
        for key, parameter in parameters.items():
            free = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            if not free and parameter.default is parameter.empty and key not in {**defaults, **arguments}:
                raise RecipeError(
                    f"{self.kind} {name!r} needs the argument {key!r}", f"write {{name: {name}, {key}: ...}}"
                )
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return
        for key in arguments:
            if key not in parameters:
                close = difflib.get_close_matches(key, parameters, n=1)
                guess = f"did you mean {close[0]!r}? " if close else ""
                raise RecipeError(
                    f"{self.kind} {name!r} has no argument {key!r}",
                    f"{guess}it takes: {', '.join(parameters) or 'nothing'}",
                )

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        for point in entry_points(group=self.package):
            if point.name not in self._parts and (part := self._of(point)) is not None:
                self._parts.setdefault(point.name, part)  # unless it has registered itself

    def _of(self, point: EntryPoint) -> type[T] | None:
        """The part of an entry point; ``None``, with a warning, where another package's is broken."""
        try:
            part = point.load()
        except (Exception, SystemExit) as error:  # somebody's own code runs here
            wrong = f"it cannot be imported: {type(error).__name__}: {first_line(error)}"
        else:
            if isinstance(part, type) and issubclass(part, self.base):
                return part
            wrong = f"it does not derive from {self.base.__module__}.{self.base.__name__}"
        warnings.warn(
            f"the {self.kind} {point.name!r} of {package_of(point)} is left out "
            f"({point.group}: {point.value}): " + shown(wrong, keep=""),
            stacklevel=4,
        )
        return None

    def _import(self, path: str) -> type[T]:
        module_name, _, attribute = path.partition(":")
        if not all(part.isidentifier() for part in [*module_name.split("."), *attribute.split(".")]):
            raise RecipeError(f"{shown(path)!r} is no import path", "write it as 'package.module:Class'")
        if not _follows_paths.get() and module_name not in sys.modules:
            raise RecipeError(
                f"the {self.kind} {path!r} is not imported: import paths in a folder are not followed",
                f"if you trust the module, import it first: --import {module_name}, or in a program "
                f"`import {module_name}`",
            )
        part = import_module(module_name, f"{self.kind} {path!r}", attribute)
        if not (isinstance(part, type) and issubclass(part, self.base)):
            raise RecipeError(f"{path!r} is not a {self.kind}: it does not derive from {self.base.__name__}")
        return part


def package_of(point: EntryPoint) -> str:
    """The package that adds an entry point, for messages."""
    return f"package {point.dist.name!r}" if point.dist is not None else "an unknown package"


def import_module(name: str, what: str, attribute: str = "") -> Any:
    """A module that a person named, or something in it; also one in the folder the command line works in.

    Args:
        name: of the module.
        what: how a message calls it.
        attribute: dotted, of what is wanted of the module; ``""``: the module itself.

    Raises:
        RecipeError: it cannot be imported, or has no such attribute.
    """
    if import_folder is not None and not {"", str(import_folder)} & set(sys.path):
        sys.path.append(str(import_folder))
    try:
        found: Any = importlib.import_module(name)
        for part in filter(None, attribute.split(".")):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:  # somebody's own code runs here
        words = shown(first_line(error))
        if not isinstance(error, (ImportError, AttributeError)):
            words = f"its module raises {type(error).__name__}: {words}"
        raise RecipeError(f"cannot import {what}: {words}") from error
    return found


def _same(one: type[Any], other: type[Any]) -> bool:
    """Whether two classes are one: a script that is run is imported as ``__main__`` and by its name."""
    if one.__qualname__ != other.__qualname__:
        return False
    if one.__module__ == other.__module__:
        return True
    files = [getattr(sys.modules.get(part.__module__), "__file__", None) for part in (one, other)]
    return "__main__" in (one.__module__, other.__module__) and files[0] is not None and files[0] == files[1]
