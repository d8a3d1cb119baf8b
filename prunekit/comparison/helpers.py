"""Processes that train runs of a comparison beside the one that asks for it."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from .. import console, errors
from ..errors import PrunekitError, RunError
from ..files import write_json
from ..recipes import Candidate, ComparedRun
from ..recipes.portable import from_plain, to_plain
from .claims import Claims

logger = logging.getLogger(__name__)
# An interrupt is for the process that started it, which lets it end. The path is that process's own, so that
# all that it can import can be imported here.
_START = """\
import sys
request, *sys.path = sys.argv[1:]
import signal
signal.signal(signal.SIGINT, signal.SIG_IGN)
from prunekit.comparison.helper import main
sys.exit(main(request))
"""
# What a launcher tells the processes it starts, and what makes a pipe look like a terminal.
_NOT_FOR_HELPERS = (
    "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
    "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE",
)  # fmt: skip
_SECONDS_TO_END = 10.0


class Helpers:
    """Starts the helpers, lets them speak through this process's log, and ends them. Use it with ``with``.

    The processor's threads are divided among all, this process included, and so are the accelerators where
    there are several. For a stage that all runs begin with one process has all threads.

    Args:
        asked: all that are compared, by the folder of the run whose recipe asks for it.
        claims: of all processes.
        count: of helpers.

    Raises:
        RunError: this process is one of a distributed launch.
    """

    def __init__(self, asked: Mapping[Path, Sequence[ComparedRun]], claims: Claims, count: int) -> None:
        from accelerate import PartialState

        if PartialState().num_processes > 1:
            raise RunError(
                "--jobs is for a single process, and this is one of a distributed launch",
                "leave out --jobs, or accelerate launch",
            )
        self._asked = asked
        self._claims = claims
        self._count = count
        self._processes: list[subprocess.Popen[str]] = []
        self._listeners: dict[int, threading.Thread] = {}
        self._errors: dict[int, dict[str, Any]] = {}
        self._threads = 0

    def __enter__(self) -> Helpers:
        import torch

        self._threads = torch.get_num_threads()
        each = max(1, self._threads // (self._count + 1))
        torch.set_num_threads(each)
        words = "one thread" if each == 1 else f"{each} threads"
        logger.info("%d processes train side by side, %s each", self._count + 1, words)
        try:
            request = self._write_request(each)
            for number in range(1, self._count + 1):
                self._start(request, {**_environment(number), "OMP_NUM_THREADS": str(each)})
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def check(self) -> None:
        """Raise the error that ended a helper, if one did.

        Raises:
            PrunekitError: as the helper raised it, or telling how it ended.
            RuntimeError: it was ended by a bug.
        """
        for process in self._processes:
            code = process.poll()
            if code:
                raise self._error(process.pid, code)

    def _write_request(self, threads: int) -> Path:
        folder = self._claims.folder
        assert folder is not None
        return write_json(
            folder / "request.json",
            {
                "runs": {str(home): [_plain(run) for run in runs] for home, runs in self._asked.items()},
                "claims": str(folder),
                "threads": threads,
                "all_threads": self._threads,
                "verbosity": int(console.verbosity()),
                "arguments": sys.argv,
            },
        )

    def _start(self, request: Path, environment: dict[str, str]) -> None:
        # Nothing is written to its standard input: it closes when this process ends, and ends that one.
        process = subprocess.Popen(
            [sys.executable, "-c", _START, str(request), *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            encoding="utf-8",
            errors="replace",
        )
        self._processes.append(process)
        listener = threading.Thread(target=self._listen, args=(process,), daemon=True)
        self._listeners[process.pid] = listener
        listener.start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        """Log what a helper logs; what else is printed there goes to standard error."""
        assert process.stdout is not None
        for line in process.stdout:
            try:
                said = json.loads(line)
                level, message, error = int(said["level"]), said["message"], said["error"]
            except (ValueError, TypeError, KeyError):
                with suppress(OSError):  # nobody reads it any more
                    console.err().print(line.rstrip("\n"), soft_wrap=True)
                continue
            if error is not None:
                # It is raised once this process has finished what it is at.
                self._errors[process.pid] = error
                logger.warning("a process that trains beside this one stopped: %s", message)
            else:
                logger.log(level, "%s", message)

    def _error(self, pid: int, code: int) -> Exception:
        self._listeners[pid].join()
        told = self._errors.get(pid)
        if told is None:
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            return RunError(
                f"a process that trained beside this one {how}",
                "what was done stays and the same command continues; with fewer --jobs it takes less memory",
            )
        if told["kind"] is None:
            return RuntimeError(f"in a process that trained beside this one, {told['message']}")
        kind: type[PrunekitError] = getattr(errors, told["kind"], RunError)
        return kind(told["message"], told["mend"])

    def _end(self) -> None:
        import torch

        torch.set_num_threads(self._threads)
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            try:
                process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _environment(number: int) -> dict[str, str]:
    """Of a helper: the accelerators are dealt out, the first to the process that asks for help."""
    import torch

    environment = {key: value for key, value in os.environ.items() if key not in _NOT_FOR_HELPERS}
    count = torch.cuda.device_count()
    if count > 1:
        visible = environment.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
        environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[number % count]
    return environment


def _plain(run: ComparedRun) -> dict[str, Any]:
    candidates = [
        {
            "settings": candidate.settings,
            "recipe": to_plain(candidate.recipe),
            "trial": None if candidate.trial is None else to_plain(candidate.trial),
        }
        for candidate in run.candidates
    ]
    return {**vars(run), "candidates": candidates}


def compared_run(data: dict[str, Any]) -> ComparedRun:
    """A run, from what a helper was told of it."""
    candidates = [
        Candidate(
            one["settings"],
            from_plain(one["recipe"]),
            None if one["trial"] is None else from_plain(one["trial"]),
        )
        for one in data["candidates"]
    ]
    return ComparedRun(**{**data, "candidates": candidates})
