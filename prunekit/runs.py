"""A run: the folder of one application of a recipe.

    runs/<name>/
        recipe.yaml      resolved
        run.json         versions, seed, machine, command
        metrics.jsonl    one line for each measurement
        stages/1-finetune/, 2-assistant/, ...
        model/, report/
        kept.json        what a grid of its own chose, over recipe.yaml
        done.json        there once everything is

A run that was stopped, in whatever way, is continued by applying the same recipe again.
"""

from __future__ import annotations

import itertools
import json
import logging
import shlex
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from .console import is_main_process
from .errors import RecipeError, RunError
from .files import locked, write_json, write_text
from .machine import machine, versions
from .recipes import Recipe, recipe_from_mapping
from .recipes.differences import difference_lines, differences
from .recipes.overrides import set_key
from .recipes.source import Location, Source, parse

logger = logging.getLogger(__name__)
_DONE = "done.json"
_KEPT = "kept.json"
_ASIDE = ".aside"
# What is there with whatever settings the run is made.
_STAYS = ("recipe.yaml", _KEPT, ".lock", _ASIDE, "cache", "compare", "grid")
_DESCRIPTION = {"recipe.yaml", "run.json"}
# What names and describes a run does not decide its result, and neither does what it is compared with.
_FREE_KEYS = ("name", "description", "output", "compare", "shares")
_MOST_DIFFERENCES = 12


def mark_done(folder: Path, **info: Any) -> None:
    """Say that all of ``folder`` is written. Written last and atomically, so it is there or it is not."""
    write_json(folder / _DONE, info)


def is_done(folder: Path) -> bool:
    """Whether :func:`mark_done` was reached."""
    return (folder / _DONE).is_file()


class Run:
    """The folder of one application of a recipe, held by this process alone. Use it with ``with``.

    Args:
        recipe: what is applied; its ``name`` and ``output`` say where.
        fresh: move a run that is there aside, to ``<name>.1`` and so on, and start anew.
        command: what the person typed, for the record.
        chosen: dotted keys that a grid has chosen the recipe's values of. A run that is there and was made
            with others is moved aside too.

    Attributes:
        folder: the run's folder.
        resumed: whether an earlier process began it.

    Raises:
        RunError: the folder cannot be written, is in use, or belongs to another recipe.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        fresh: bool = False,
        command: str | None = None,
        chosen: Iterable[str] = (),
    ) -> None:
        self.recipe = recipe
        self.folder = Path(recipe.output) / recipe.name
        self.resumed = False
        self._fresh = fresh
        self._chosen = set(chosen)
        self._command = command or _typed()
        self._lock = ExitStack()

    def __enter__(self) -> Run:
        if is_main_process():
            self._take()
            try:
                self._begin()
            except BaseException:
                self._release()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    # -- what is in it

    @property
    def model_folder(self) -> Path:
        """The resulting model, in the Hugging Face layout."""
        return self.folder / "model"

    @property
    def report_folder(self) -> Path:
        """``report.json``, Markdown and the HTML page."""
        return self.folder / "report"

    @property
    def finished(self) -> bool:
        """Whether every stage has been done."""
        return is_done(self.folder)

    def stage_folder(self, number: int, key: str) -> Path:
        """Folder of the ``number``-th stage (from 1), e.g. ``stages/3-slenderize``."""
        return self.folder / "stages" / f"{number}-{key}"

    def finish(self, **info: Any) -> None:
        """Mark the run as finished."""
        if is_main_process():
            mark_done(self.folder, finished=_now(), **info)

    def info(self) -> dict[str, Any]:
        """What ``run.json`` holds."""
        return dict(json.loads((self.folder / "run.json").read_text(encoding="utf-8")))

    def describe(self) -> None:
        """Write anew what made the run, while nothing of it is made yet: the threads may have changed."""
        if is_main_process() and not self.resumed:
            write_json(self.folder / "run.json", self._description())

    def keep(self, recipe: Recipe, settings: Mapping[str, Any]) -> bool:
        """Have the run made with what a grid chose. What was made with other settings is moved aside.

        Args:
            recipe: the run's own, with the settings.
            settings: dotted key -> value.

        Returns:
            Whether something was moved.

        Raises:
            RunError: the folder cannot be written.
        """
        if not is_main_process():
            return False
        aside = self.folder / _ASIDE
        try:
            if not self._is_made_with(recipe):
                self._move_to(aside)
            write_json(self.folder / _KEPT, {"settings": dict(settings)})
            if not aside.is_dir():
                return False
            target = self._free_name()
            aside.rename(target)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        words = ", ".join(f"{key} {value}" for key, value in settings.items())
        logger.warning("%s is kept; what was made with other settings is now %s", words, target)
        return True

    def _is_made_with(self, recipe: Recipe) -> bool:
        """Whether there is nothing yet that was made with other settings."""
        if not (self.folder / "stages").is_dir() and not is_done(self.folder):
            return True
        return not _differing(recipe_of(self.folder).resolved(), recipe)

    def _move_to(self, aside: Path) -> None:
        """Move what the stages made there. Killed on the way and called again, it goes on."""
        aside.mkdir(exist_ok=True)
        write_text(aside / "recipe.yaml", recipe_of(self.folder).to_yaml())
        # First what says that all is there, last what was made with other settings. What is there already was
        # moved before a kill, and what has its name now is the run's new one.
        stays = {*_STAYS, *(entry.name for entry in aside.iterdir())}
        names = [entry.name for entry in self.folder.iterdir() if entry.name not in stays]
        for name in sorted(names, key=lambda name: (name != _DONE, name == "stages")):
            (self.folder / name).rename(aside / name)
        write_json(self.folder / "run.json", self._description())

    # -- taking and beginning it

    def _take(self) -> None:
        """Lock the folder, made if need be."""
        try:
            free = self._lock.enter_context(locked(self.folder / ".lock", wait=False))
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        if not free:
            self._release()
            raise RunError(
                f"the run {self.folder} is being applied by another process",
                "wait for it to end, or give this one another name: --name OTHER",
            )

    def _release(self) -> None:
        self._lock.close()

    def _begin(self) -> None:
        held = [entry.name for entry in self.folder.iterdir() if not _is_scratch(entry)]
        if held and self._fresh:
            self._move_aside()
            held = []
        if held and not (self.folder / "recipe.yaml").is_file():
            raise RunError(
                f"{self.folder} is there and is not a run: it has no recipe.yaml",
                "give the run another name with --name OTHER, or move the folder aside with --fresh",
            )
        # A recipe refused before its first stage has nothing to lose: the mended one takes its place.
        self.resumed = bool(set(held) - _DESCRIPTION)
        if self.resumed and self._differs_from_there():
            self._move_aside()
            self.resumed = False
        # A run is compared with what was asked for last.
        if not self.resumed or self._compared_there() != self.recipe.resolved()["compare"]:
            write_text(self.folder / "recipe.yaml", self.recipe.to_yaml())
        if not (self.resumed and (self.folder / "run.json").is_file()):
            write_json(self.folder / "run.json", self._description())

    def _move_aside(self) -> None:
        target = self._free_name()
        try:
            self.folder.rename(target)
            if self._chosen:
                logger.warning("another setting is kept; what was made with the one before is now %s", target)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        self._release()
        self._take()

    def _free_name(self) -> Path:
        """``<name>.1``, or the first number behind it that is free."""
        numbered = (self.folder.with_name(f"{self.folder.name}.{n}") for n in itertools.count(1))
        return next(folder for folder in numbered if not folder.exists())

    def _compared_there(self) -> Any:
        """What the recipe that is there compares with."""
        return _with_defaults(_asked_for(self.folder).data).get("compare")

    def _differs_from_there(self) -> bool:
        """Whether what is there was made with other settings, and in nothing but what a grid has chosen.

        Raises:
            RunError: it was made with another recipe.
        """
        differing = _differing(_with_defaults(_made_with(self.folder)), self.recipe)
        if self.recipe.compare is not None:
            # Whether these are as they will be, is known once the grid has chosen.
            differing = {key: pair for key, pair in differing.items() if key not in self.recipe.compare.grid}
        if not set(differing) - self._chosen:
            return bool(differing)
        lines = difference_lines(differing, "{!r} there, {!r} now", _MOST_DIFFERENCES)
        raise RunError(
            f"the run {self.folder} was made with another recipe; they differ in\n" + "\n".join(lines),
            "give this run another name with --name OTHER, or start anew with --fresh "
            f"(the old run is kept as {self.folder.name}.1)",
        )

    def _description(self) -> dict[str, Any]:
        return {
            "command": self._command,
            "created": _now(),
            "seed": self.recipe.seed,
            "versions": versions(),
            "machine": machine(),
        }


def _with_defaults(data: dict[str, Any]) -> dict[str, Any]:
    """A resolved recipe of an earlier version, with the keys that it did not know yet at their defaults."""
    try:
        return recipe_from_mapping(data).resolved()
    except RecipeError:
        return data  # the differences tell why


def recipe_of(folder: Path) -> Recipe:
    """The recipe that made what is in a run's folder: with what its own grid chose, and nothing to compare.

    Raises:
        RecipeError: it was written by a version whose recipes mean nothing to this one.
    """
    return recipe_from_mapping(_made_with(folder))


def kept_settings(folder: Path) -> dict[str, Any]:
    """Dotted key -> value, of what a run's own grid chose; empty where it has none."""
    file = folder / _KEPT
    return dict(json.loads(file.read_text(encoding="utf-8"))["settings"]) if file.is_file() else {}


def _asked_for(folder: Path) -> Source:
    file = folder / "recipe.yaml"
    return parse(file.read_text(encoding="utf-8"), str(file))


def _made_with(folder: Path) -> dict[str, Any]:
    """What was asked for, with what a grid chose of it, and nothing to compare."""
    source = _asked_for(folder)
    source.data.pop("compare", None)
    for key, value in kept_settings(folder).items():
        source = set_key(source, key, value, Location(str(folder / _KEPT)))
    return source.data


def _differing(there: Mapping[str, Any], recipe: Recipe) -> dict[str, tuple[Any, Any]]:
    """In what a run that was made with one resolved recipe is not that of another."""
    found = differences(there, recipe.resolved())
    return {key: pair for key, pair in found.items() if key.partition(".")[0] not in _FREE_KEYS}


def _is_scratch(entry: Path) -> bool:
    return entry.name == ".lock" or (entry.name.startswith(".") and entry.name.endswith(".tmp"))


def _typed() -> str:
    """The command that this process was started with, as one would type it again."""
    program, *arguments = sys.argv
    ours = Path(program).name in ("prunekit", "__main__.py")
    return shlex.join(["prunekit" if ours else program, *arguments])


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _cannot_write(folder: Path, error: OSError) -> RunError:
    return RunError(
        f"cannot write the run folder {folder}: {error.strerror or error}",
        "make room, or give a folder that can be written with --output FOLDER; what was there is untouched",
    )
