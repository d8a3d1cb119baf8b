"""What a person sees: results on standard output, logs and progress on standard error.

Library code logs through ``logging.getLogger(__name__)`` and shows long work with :func:`progress`;
:func:`where` says which stage (and step) the lines belong to. Only the command line calls :func:`setup`,
so that a program that imports prunekit keeps its own logging.

Names, texts and messages come from anywhere. All of them are shown as they are: none is read as markup, and
control characters come out as visible escapes (:func:`~prunekit.text.shown`). Styles are given as ``style=``.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.highlighter import NullHighlighter
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
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from .text import shown

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
    """A console on which no text steers the terminal or is read as markup, whoever gives it."""

    def __init__(self, *, stderr: bool) -> None:
        stream = sys.stderr if stderr else sys.stdout
        width = None if _is_terminal(stream) or "COLUMNS" in os.environ else _PIPED_WIDTH
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **settings: Any) -> Text:
        """What strings become wherever they stand: in a line, a cell, a title."""
        settings.update(markup=False, emoji=False)
        return super().render_str(shown(text, keep="\n"), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The same for what was no string; only rich's own segments steer the terminal."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=shown(segment.text, keep="\n"))

    def on_broken_pipe(self) -> None:
        """Let the command line decide how to end, where rich would exit."""
        raise BrokenPipeError


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


def out() -> Console:
    """Results: tables and answers, on standard output."""
    return _Console(stderr=False)


def say(words: str, style: str = "") -> None:
    """One result on one line, never broken in the middle of a path."""
    out().print(shown(words, keep=""), style=style, soft_wrap=True)


@cache
def err() -> Console:
    """Logs, progress and errors, on standard error: one console, so that lines do not cut through bars."""
    return _Console(stderr=True)


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
    _prepare_streams()
    err.cache_clear()
    if level is not Verbosity.VERBOSE:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
        os.environ.setdefault("DATASETS_VERBOSITY", "error")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

    if handler is None:
        handler = _Handler(
            console=err(),
            show_path=False,
            show_level=level is Verbosity.VERBOSE,
            omit_repeated_times=False,
            highlighter=NullHighlighter(),
            keywords=[],
        )
        handler.setFormatter(logging.Formatter("%(where)s%(message)s", datefmt="[%X]"))
    handler.addFilter(_add_where)
    # Libraries have handlers of their own, which write what they are given to standard error.
    logging.setLogRecordFactory(_Record)
    warnings.showwarning = _log_warning
    root = logging.getLogger("prunekit")
    root.handlers = [handler]
    root.propagate = False
    root.setLevel({-1: logging.WARNING, 0: logging.INFO, 1: logging.DEBUG}[level])


class _Record(logging.LogRecord):
    """A line of anybody's log, without characters that steer a terminal."""

    def getMessage(self) -> str:
        return shown(super().getMessage())


class _Handler(RichHandler):
    def format(self, record: logging.LogRecord) -> str:
        """The whole record, a traceback included, before rich drops some control characters from it."""
        return shown(super().format(record), keep="\n")


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A library's warning as a line of the log."""
    logger.warning("%s, line %d: %s: %s", filename, lineno, category.__name__, message)


def _prepare_streams() -> None:
    """Nothing that is printed may end the program: neither a closed stream nor a character it cannot show.

    What is closed (``>&-``) is put on the null device, in the order of the numbers, so that no file that is
    opened later gets the number of a standard stream. Into a pipe or a file goes UTF-8, whatever the locale
    is; what a terminal's encoding lacks comes out as an escape.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 - for good
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")


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
    place, outer = shown(place, keep=""), _where.get()
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
    description = shown(description, keep="")
    title = f"{place}: {description}" if place else description
    console = err()
    if not console.is_terminal:
        yield _LoggedTask(description, total, done)
        return
    bar = Progress(
        # The other spinners are made of characters that not every terminal has.
        SpinnerColumn("dots" if console.encoding.startswith("utf") else "line"),
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
    told = " ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in fields.items()
    )
    return shown(told, keep="")


def duration(seconds: float) -> str:
    """``"42 s"``, ``"3 min 05 s"`` or ``"2 h 07 min"``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class _Table(Table):
    def add_row(self, *cells: Any, **settings: Any) -> None:
        """Cells that are strings are shown as they are, each on one line, on any console."""
        super().add_row(*(_text(cell) if isinstance(cell, str) else cell for cell in cells), **settings)


def _text(words: str, style: str = "") -> Text:
    return Text(shown(words, keep=""), style=style)


def table(title: str, *columns: str, caption: str | None = None) -> Table:
    """An empty table in the house style: first column left, the others right, lines only under the head.

    Title, heads, caption and cells are shown as they are, whatever is in them, each on one line.
    """
    made = _Table(
        title=_text(title, "table.title"),
        caption=None if caption is None else _text(caption, "table.caption"),
        box=SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    for index, column in enumerate(columns):
        made.add_column(_text(column), justify="left" if index == 0 else "right", overflow="fold")
    return made
