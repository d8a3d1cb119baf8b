"""Errors that a person can act on.

The command line prints these without a traceback and ends with :attr:`PrunekitError.exit_code`.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from .text import shown

_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)  # only what writes meets these
_NOT_ALLOWED = (errno.EACCES, errno.EPERM)
# The tensor readers and writers report the system's error in words alone.
_OS_ERROR = re.compile(r"os error (\d+)")
_NO_MEMORY = re.compile(
    "out of memory|(can't|cannot|unable to) allocate|ALLOC_FAILED|size calculation overflowed", re.IGNORECASE
)


class PrunekitError(Exception):
    """Something the user can mend.

    Args:
        message: what is wrong, and where (file, line, key, or tensor and shapes).
        mend: what would mend it; printed on a line of its own.
    """

    exit_code = 2

    def __init__(self, message: str, mend: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend

    def __str__(self) -> str:
        return self.message if self.mend is None else f"{self.message}\n  {self.mend}"


def first_line(error: BaseException) -> str:
    """What an error of a library says, in one line."""
    return (str(error).strip() or repr(error)).splitlines()[0]


class RecipeError(PrunekitError, ValueError):
    """A recipe or an override that cannot be followed.

    A ``ValueError`` too: raised by a pydantic validator, it gets the place of the key it is about.
    """


class DataError(PrunekitError):
    """Data that cannot be read or does not fit the task."""


class BudgetError(PrunekitError):
    """A target that the model cannot meet."""


class UnsupportedModelError(PrunekitError):
    """A model whose structure prunekit does not know how to change."""


class CheckpointError(PrunekitError):
    """A model folder that cannot be read or written."""


class TrainingError(PrunekitError):
    """Training that cannot go on, e.g. because the loss became NaN."""

    exit_code = 3


class RunError(PrunekitError):
    """A run folder that cannot be used as asked."""


def system_error(error: BaseException | None) -> RunError | None:
    """What the system refused (a file, the disk, memory), if an error or its causes are about that."""
    cause = error
    while cause is not None:
        told = _memory_error(cause) or _file_error(cause)
        if told is not None:
            return told
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, OSError) and error.errno is not None and _name(error):
        return RunError(
            f"cannot use {shown(_name(error), keep='')}: {os.strerror(error.errno)}", "give another path"
        )
    return None


def _memory_error(error: BaseException) -> RunError | None:
    if isinstance(error, RecursionError):
        return RunError(
            "something is nested too deeply: a recipe, a file of a model, or the model itself",
            "make it flatter; -v shows where it was read",
        )
    short = isinstance(error, MemoryError) or (
        isinstance(error, (RuntimeError, OSError)) and _NO_MEMORY.search(str(error)) is not None
    )
    if not short:
        return None
    words = f": {first_line(error)}" if str(error).strip() else ""
    return RunError(
        f"there is not enough memory{words}",
        "use smaller batches, shorter inputs, a smaller model or fewer --jobs; or end other programs",
    )


def _file_error(error: BaseException) -> RunError | None:
    told = _OS_ERROR.search(str(error))
    if isinstance(error, OSError) and error.errno is not None:
        number, name = error.errno, _name(error)
    elif told is not None:
        number, name = int(told[1]), ""
    else:
        return None
    words = f"{shown(name, keep='')}: {os.strerror(number)}" if name else os.strerror(number)
    if number in _WRITING or (number in _NOT_ALLOWED and name and _only_writing_is_refused(name)):
        return RunError(f"cannot write: {words}", "make room, or give a folder that can be written")
    if number in (errno.EMFILE, errno.ENFILE):
        return RunError(f"cannot open {words}", "allow more open files (ulimit -n), or use fewer --jobs")
    if name and number in _NOT_ALLOWED:
        return RunError(f"cannot read {words}", "allow it to be read (chmod), or give another path")
    if not name and number in (*_NOT_ALLOWED, errno.EIO, errno.EBADF):
        return RunError(
            f"cannot read or write: {words}", "give files and folders that you may read and write"
        )
    return None


def _name(error: OSError) -> str:
    """The path that an error of the system is about; ``""`` where it is about a descriptor, or tells none."""
    path = error.filename
    return os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""


def _only_writing_is_refused(path: str) -> bool:
    """Whether what is at a path, or its folder where there is nothing, may be read but not be changed."""
    place = Path(path)
    if not os.path.lexists(place):
        # A folder that may not be entered does not say what is in it: nothing can be read there.
        return _may(place.parent, os.X_OK) and not _may(place.parent, os.W_OK)
    return _may(place, os.R_OK) and not _may(place, os.W_OK)


def _may(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)
