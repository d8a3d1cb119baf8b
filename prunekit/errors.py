"""Errors that a person can act on.

The command line prints these without a traceback and ends with :attr:`PrunekitError.exit_code`.
"""

from __future__ import annotations

import errno
import os
import re

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG)
# The tensor writers report the system's error in words alone.
_OS_ERROR = re.compile(r"os error (\d+)")


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


def disk_error(error: BaseException | None) -> RunError | None:
    """What was wrong with the disk, if that is what an unexpected error or its causes are about."""
    while error is not None:
        told = _OS_ERROR.search(str(error))
        words = None
        if isinstance(error, OSError) and error.errno in _DISK:
            words = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        elif told and int(told[1]) in _DISK:
            words = os.strerror(int(told[1]))
        if words is not None:
            return RunError(
                f"cannot write: {words}",
                "make room or give a folder that can be written; then the same command continues",
            )
        error = error.__cause__ or error.__context__
    return None
