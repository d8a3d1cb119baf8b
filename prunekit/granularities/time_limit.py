"""Work that may hang, done in another thread and stopped after a while."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

# How long a stopped thread may take to notice; only code outside Python can take longer, and is left behind.
_GRACE = 2.0


class _Stopped(BaseException):
    """Raised in a thread that has run out of time."""


def run_within(seconds: float, work: Callable[[], T]) -> T:
    """Run ``work`` in a thread of its own, from whatever thread this is called in.

    Signals, and so alarms, only reach the main thread; an exception can be raised in any thread that runs
    Python code. ``work`` must not need to clean up: the exception may strike anywhere in it.

    Raises:
        TimeoutError: it did not end in time; it has been stopped.
        Exception: whatever ``work`` raised.
    """
    result: dict[str, Any] = {}

    def run() -> None:
        try:
            result["value"] = work()
        except BaseException as error:  # handed to the caller's thread
            result["error"] = error

    thread = threading.Thread(target=run, daemon=True, name="prunekit-time-limit")
    thread.start()
    try:
        thread.join(seconds)
    finally:
        late = thread.is_alive()
        if late:
            _stop(thread)
    if late:
        raise TimeoutError(f"not done within {seconds:g} s")
    if "error" in result:
        raise result["error"]
    value: T = result["value"]
    return value


def _stop(thread: threading.Thread) -> None:
    """Raise ``_Stopped`` in the thread until it ends: a bare ``except`` in its way may swallow the first."""
    waited = 0.0
    while thread.is_alive() and waited < _GRACE and thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(_Stopped))
        thread.join(0.1)
        waited += 0.1
