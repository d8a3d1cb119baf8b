"""A run's folder, held by one process."""

from __future__ import annotations

import itertools
import logging
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from ..console import is_main_process
from ..errors import RunError
from ..files import locked, remove_leftovers, write_json, write_text
from ..machine import machine, versions
from ..recipes import Recipe
from ..recipes.differences import difference_lines, differences
from .checking import CHANGED, MODEL, OUTPUTS, OWN_FILES, refuse_links
from .reading import (
    RECIPE,
    compared_with,
    info_of,
    is_done,
    made_with,
    mark_done,
    recipe_of,
    with_defaults,
)
from .records import COMPUTING, DATA, DONE, INFO, KEPT

logger = logging.getLogger(__name__)
_ASIDE = ".aside"
_SPLITS = ("train", "validation", "test", "calibration")
# What is there with whatever settings the run is made.
_STAYS = (RECIPE, KEPT, ".lock", _ASIDE, "cache", "compare", "grid")
_DESCRIPTION = {RECIPE, INFO, DATA, COMPUTING}
# What a stage is called while it is taken over from another run, or makes room for it.
_TAKING = re.compile(r"\.[0-9]+-.+\.(taken|begun)")
# What names and describes a run does not decide its result, and neither does what it is compared with.
_FREE_KEYS = ("name", "description", "output", "compare", "shares")
_MOST_DIFFERENCES = 12


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
        return info_of(self.folder)

    def describe(self) -> None:
        """Write anew what made the run, while nothing of it is made yet: the threads may have changed."""
        if is_main_process() and not self.resumed:
            write_json(self.folder / INFO, self._description())

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
            write_json(self.folder / KEPT, {"settings": dict(settings)})
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
        write_text(aside / RECIPE, recipe_of(self.folder).to_yaml())
        # First what says that all is there, last what was made with other settings. What is there already was
        # moved before a kill, and what has its name now is the run's new one.
        stays = {*_STAYS, *(entry.name for entry in aside.iterdir())}
        names = [entry.name for entry in self.folder.iterdir() if entry.name not in stays]
        for name in sorted(names, key=lambda name: (name != DONE, name == "stages")):
            (self.folder / name).rename(aside / name)
        first = {key: value for key, value in info_of(aside).items() if key in ("command", "later_commands")}
        write_json(self.folder / INFO, self._description() | first)

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
        held = self._held()
        if held and self._fresh:
            self._move_aside()
            held = set()
        if held and not (self.folder / RECIPE).is_file():
            raise RunError(
                f"{self.folder} is there and is not a run: it has no recipe.yaml",
                "give the run another name with --name OTHER, or move the folder aside with --fresh",
            )
        if held:
            refuse_links(self.folder)
            self._clear()
            held = self._held()
        # A recipe refused before its first stage has nothing to lose: the mended one takes its place.
        self.resumed = bool(held - _DESCRIPTION)
        if self.resumed and self._differs_from_there():
            self._move_aside()
            self.resumed = False
        if not self.resumed:
            for name in (DATA, COMPUTING):
                (self.folder / name).unlink(missing_ok=True)
        described = self.resumed and (self.folder / INFO).is_file()
        # A run is compared with what was asked for last.
        asked = not self.resumed or compared_with(self.folder) != self.recipe.resolved()["compare"]
        if asked and described:
            self._add_command()
        # What makes the folder a run comes first.
        if asked:
            write_text(self.folder / RECIPE, self.recipe.to_yaml())
        if not described:
            write_json(self.folder / INFO, self._description())

    def _held(self) -> set[str]:
        """Names of what is there, but for what a kill may leave of nothing."""
        return {entry.name for entry in self.folder.iterdir() if not _is_scratch(entry)}

    def _clear(self) -> None:
        """Remove what a killed process left half written, and put back what it had begun to move aside."""
        remove_leftovers(self.folder, OWN_FILES, [MODEL])
        for name, files in CHANGED.items():
            remove_leftovers(self.folder / name, files)
        remove_leftovers(self.folder / OUTPUTS, [f"{split}.safetensors" for split in _SPLITS])
        for stage in self.folder.glob("stages/*"):
            if _TAKING.fullmatch(stage.name):
                shutil.rmtree(stage)
            else:
                remove_leftovers(stage, [DONE], None)
        aside = self.folder / _ASIDE
        if not aside.is_dir() or (self.recipe.compare is not None and self.recipe.compare.grid):
            return  # with a grid, that goes on
        moved = [entry for entry in aside.iterdir() if entry.name != RECIPE]
        made_anew = any((self.folder / entry.name).is_dir() for entry in moved)
        if not (self.folder / KEPT).is_file() and not made_anew:
            for entry in moved:
                entry.replace(self.folder / entry.name)
            shutil.rmtree(aside)
            return
        target = self._free_name()
        aside.rename(target)
        logger.warning("what was made with other settings than a grid kept is now %s", target)

    def _add_command(self) -> None:
        """What the run's own command does not give: this one compares it with more.

        One that is there already takes back those behind it.
        """
        info = info_of(self.folder)
        given = [info.get("command"), *info.get("later_commands", [])]
        if self._command in given:
            del given[given.index(self._command) + 1 :]
        else:
            given.append(self._command)
        write_json(self.folder / INFO, info | {"later_commands": given[1:]})

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

    def _differs_from_there(self) -> bool:
        """Whether what is there was made with other settings, and in nothing but what a grid has chosen.

        Raises:
            RunError: it was made with another recipe.
        """
        differing = _differing(with_defaults(made_with(self.folder)), self.recipe)
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
