"""What a person sees: results on standard output, logs and progress on standard error.

Library code logs through ``logging.getLogger(__name__)`` and shows long work with :func:`progress`;
:func:`where` says which stage (and step) the lines belong to. Only the command line calls :func:`setup`,
so that a program that imports prunekit keeps its own logging.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum
from functools import cache
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

logger = logging.getLogger(__name__)

# Piped output has no width of its own; rich would assume 80 columns and squeeze the tables.
_PIPED_WIDTH = 160
# Where no bar can be drawn, a line is logged this often (in parts of the work, and seconds at least apart).
_LOG_PARTS = 10
_LOG_SECONDS = 5.0

_where: ContextVar[str] = ContextVar("where", default="")


class Verbosity(IntEnum):
    """How much is said."""

    QUIET = -1
    NORMAL = 0
    VERBOSE = 1


_verbosity = Verbosity.NORMAL


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let the command line decide how to end, where rich would exit."""
        raise BrokenPipeError


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPED_WIDTH
    return _Console(stderr=stderr, width=width, highlight=False)


def out() -> Console:
    """Results: tables and answers, on standard output."""
    return _console(stderr=False)


@cache
def err() -> Console:
    """Logs, progress and errors, on standard error: one console, so that lines do not cut through bars."""
    return _console(stderr=True)


def is_main_process() -> bool:
    """Whether this process writes and speaks; the others of a distributed launch only compute."""
    return int(os.environ.get("RANK", "0")) == 0


def verbosity() -> Verbosity:
    """What :func:`setup` was last given."""
    return _verbosity


def setup(level: Verbosity = Verbosity.NORMAL, handler: logging.Handler | None = None) -> None:
    """Send prunekit's log to standard error and keep the libraries' own chatter and bars out of it.

    Call it before transformers or datasets are imported: they read their settings at import.

    Args:
        level: how much is said.
        handler: takes the log's records in place of standard error; ``record.where`` is a line's beginning.
    """
    global _verbosity
    _verbosity = level = level if is_main_process() else Verbosity.QUIET
    err.cache_clear()
    if level is not Verbosity.VERBOSE:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
        os.environ.setdefault("DATASETS_VERBOSITY", "error")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

    if handler is None:
        handler = RichHandler(
            console=err(), show_path=False, show_level=level is Verbosity.VERBOSE, omit_repeated_times=False
        )
        handler.setFormatter(logging.Formatter("%(where)s%(message)s", datefmt="[%X]"))
    handler.addFilter(_add_where)
    root = logging.getLogger("prunekit")
    root.handlers = [handler]
    root.propagate = False
    root.setLevel({-1: logging.WARNING, 0: logging.INFO, 1: logging.DEBUG}[level])


def quiet_libraries() -> None:
    """Turn off the bars that transformers draws while it reads and writes weights; downloads keep theirs."""
    from huggingface_hub.utils.tqdm import enable_progress_bars
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    enable_progress_bars()


def _add_where(record: logging.LogRecord) -> bool:
    place = _where.get()
    record.where = f"{place}: " if place else ""
    return True


@contextmanager
def where(place: str) -> Iterator[None]:
    """Lines logged inside say where they come from, e.g. ``"slenderize"`` then ``"step 3/10"``."""
    outer = _where.get()
    token = _where.set(f"{outer}, {place}" if outer else place)
    try:
        yield
    finally:
        _where.reset(token)


class Task:
    """Long work that can say how far it has come. Made by :func:`progress`."""

    def advance(self, steps: float = 1, **fields: Any) -> None:
        """``steps`` more are done; ``fields`` (e.g. ``loss=0.31``) are shown beside the bar."""


@contextmanager
def progress(description: str, total: float, done: float = 0) -> Iterator[Task]:
    """A bar with the time left; log lines where no bar can be drawn; nothing when quiet.

    Args:
        description: what is being done, e.g. ``"training"``.
        total: steps in all.
        done: steps that an earlier run has done already.
    """
    if _verbosity is Verbosity.QUIET or not logging.getLogger("prunekit").handlers:
        yield Task()
        return
    place = _where.get()
    title = f"{place}: {description}" if place else description
    console = err()
    if not console.is_terminal:
        yield _LoggedTask(description, total, done)
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        transient=True,
    )
    with bar:
        yield _BarTask(bar, title, total, done)


class _BarTask(Task):
    def __init__(self, bar: Progress, title: str, total: float, done: float) -> None:
        self._bar = bar
        self._id = bar.add_task(title, total=total, completed=int(done), note="")

    def advance(self, steps: float = 1, **fields: Any) -> None:
        if fields:
            self._bar.update(self._id, advance=steps, note=_note(fields))
        else:
            self._bar.advance(self._id, steps)


class _LoggedTask(Task):
    def __init__(self, description: str, total: float, done: float) -> None:
        self._description = description
        self._total = total
        self._done = self._first = done
        self._start = self._said = time.monotonic()
        self._next = done + total / _LOG_PARTS

    def advance(self, steps: float = 1, **fields: Any) -> None:
        self._done += steps
        now = time.monotonic()
        if self._done < self._next or now - self._said < _LOG_SECONDS:
            return
        self._said = now
        self._next = self._done + self._total / _LOG_PARTS
        left = (now - self._start) / (self._done - self._first) * max(self._total - self._done, 0)
        note = _note(fields)
        logger.info(
            "%s %d/%d, %s left%s",
            self._description,
            self._done,
            self._total,
            duration(left),
            f", {note}" if note else "",
        )


def _note(fields: dict[str, Any]) -> str:
    return " ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in fields.items()
    )


def duration(seconds: float) -> str:
    """``"42 s"``, ``"3 min 05 s"`` or ``"2 h 07 min"``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def table(title: str, *columns: str, caption: str | None = None) -> Table:
    """An empty table in the house style: first column left, the others right, lines only under the head."""
    made = Table(title=title, caption=caption, box=SIMPLE_HEAD, title_justify="left", caption_justify="left")
    for index, column in enumerate(columns):
        made.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    return made
