"""A process that trains runs of a comparison beside another; :class:`~.helpers.Helpers` starts it.

Its standard input is one line of what it is to do, and then open as long as it is wanted; its standard output
is JSON lines of what it logs, and the error that ended it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from pathlib import Path
from typing import IO, Any

from .. import console
from ..errors import PrunekitError

_INTERRUPTED = 130


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
    os._exit(_INTERRUPTED)


def main() -> int:
    """Help until nothing is left to be done, or help is no longer wanted; the exit code."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with, args=(sys.stdin,), daemon=True).start()
    sys.path.extend(folder for folder in request["path"] if folder not in sys.path)
    sys.argv = request["arguments"]
    console.setup(console.Verbosity(request["verbosity"]), _Speaking())
    console.quiet_libraries()
    try:
        _help(request)
    except PrunekitError as error:
        told = {"kind": type(error).__name__, "message": error.message, "mend": error.mend}
        _say(logging.ERROR, error.message, told)
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def _help(request: dict[str, Any]) -> None:
    from .claims import Claims
    from .helpers import compared_run
    from .work import Work

    home = Path(request["home"])
    runs, others = ([compared_run(run) for run in request[key]] for key in ("runs", "others"))
    Work(home, runs, others, claims=Claims.of(home)).finish()


if __name__ == "__main__":
    sys.exit(main())
