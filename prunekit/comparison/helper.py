"""A process that trains runs of a comparison beside another; :class:`~.helpers.Helpers` starts it.

Its standard input is open as long as it is wanted; its standard output is JSON lines of what it logs, and the
error that ended it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import IO, Any

from .. import console
from ..errors import PrunekitError, system_error

_NOT_WANTED = 130


class _Speaking(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            _say(record.levelno, f"{record.where}{record.getMessage()}")  # type: ignore[attr-defined]
        except Exception:
            self.handleError(record)


def _say(level: int, message: str, error: dict[str, Any] | None = None) -> None:
    line = json.dumps({"level": level, "message": message, "error": error})
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _end_with(stream: IO[str]) -> None:
    """End as soon as the other process closes the stream, or ends. A run that is killed can be continued."""
    stream.read()
    os._exit(_NOT_WANTED)


def main(request: str) -> int:
    """Help until nothing is left to be done, or help is no longer wanted.

    Args:
        request: the file that says with what.

    Returns:
        The exit code: 0, or that of an error, which was told.
    """
    threading.Thread(target=_end_with, args=(sys.stdin,), daemon=True).start()
    asked = json.loads(Path(request).read_text(encoding="utf-8"))
    sys.argv = asked["arguments"]
    console.setup(console.Verbosity(asked["verbosity"]), _Speaking())
    try:
        _help(asked)
    except (Exception, SystemExit) as error:
        _say(logging.DEBUG, traceback.format_exc())
        mendable = error if isinstance(error, PrunekitError) else system_error(error)
        if mendable is None:
            told = {"kind": None, "message": f"{type(error).__name__}: {error}", "mend": None}
        else:
            told = {"kind": type(mendable).__name__, "message": mendable.message, "mend": mendable.mend}
        _say(logging.ERROR, str(told["message"]), told)
        return 1
    return 0


def _help(asked: dict[str, Any]) -> None:
    import torch

    from .claims import Claims
    from .helpers import compared_run
    from .worker import Worker

    console.quiet_libraries()
    torch.set_num_threads(asked["threads"])
    runs = {Path(home): list(map(compared_run, runs)) for home, runs in asked["runs"].items()}
    Worker(runs, claims=Claims(Path(asked["claims"])), threads=asked["all_threads"]).finish()
