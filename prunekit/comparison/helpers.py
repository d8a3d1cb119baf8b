"""Processes that train runs of a comparison beside the one that asks for it."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from .. import console, errors
from ..errors import PrunekitError, RunError
from ..recipes import Candidate, ComparedRun, recipe_from_mapping

logger = logging.getLogger(__name__)
# What a launcher tells the processes it starts: a helper belongs to no launch.
_LAUNCH = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_SECONDS_TO_END = 10.0


class Helpers:
    """Starts the helpers, lets them speak through this process's log, and ends them. Use it with ``with``.

    The processor's threads are divided among all, this process included, and so are the accelerators where
    there are several.

    Args:
        home: folder of the run whose recipe asks for the comparison.
        runs: all that are compared.
        others: runs of other recipes, whose stages may be taken over too.
        count: of helpers.

    Raises:
        RunError: this process is one of a distributed launch.
    """

    def __init__(
        self, home: Path, runs: Sequence[ComparedRun], others: Iterable[ComparedRun], count: int
    ) -> None:
        from accelerate import PartialState

        if PartialState().num_processes > 1:
            raise RunError(
                "--jobs is for a single process, and this is one of a distributed launch",
                "leave out --jobs, or accelerate launch",
            )
        self._request = json.dumps(
            {
                "home": str(home),
                "runs": [_plain(run) for run in runs],
                "others": [_plain(run) for run in others],
                "verbosity": int(console.verbosity()),
                "path": sys.path,
                "arguments": sys.argv,
            }
        )
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
        logger.info("%d processes train side by side, %s", self._count + 1, _threads(each))
        try:
            for number in range(1, self._count + 1):
                self._start({**_environment(number), "OMP_NUM_THREADS": str(each)})
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
        """
        for process in self._processes:
            code = process.poll()
            if code:
                raise self._error(process.pid, code)

    def _start(self, environment: dict[str, str]) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.helper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            encoding="utf-8",
            errors="replace",
        )
        self._processes.append(process)
        assert process.stdin is not None and process.stdout is not None
        listener = threading.Thread(target=self._listen, args=(process.pid, process.stdout), daemon=True)
        self._listeners[process.pid] = listener
        listener.start()
        # What comes after the first line is nothing until this process ends, however: then a helper does too.
        process.stdin.write(self._request + "\n")
        process.stdin.flush()

    def _listen(self, pid: int, stream: IO[str]) -> None:
        """Log what a helper logs; what else is printed there goes to standard error."""
        for line in stream:
            try:
                said = json.loads(line)
                level, message, error = said["level"], said["message"], said["error"]
            except (ValueError, TypeError, KeyError):
                console.err().print(line.rstrip("\n"), markup=False, soft_wrap=True)
                continue
            if error is not None:
                self._errors[pid] = error
            else:
                logger.log(level, "%s", message)

    def _error(self, pid: int, code: int) -> PrunekitError:
        self._listeners[pid].join()
        told = self._errors.get(pid)
        if told is not None:
            kind = getattr(errors, told["kind"], RunError)
            return kind(told["message"], told["mend"])  # type: ignore[no-any-return]
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return RunError(
            f"a process that trained beside this one {how}",
            "what was done stays, and the same command continues; with fewer --jobs less memory is needed",
        )

    def _end(self) -> None:
        import torch

        torch.set_num_threads(self._threads)
        for process in self._processes:
            assert process.stdin is not None
            with suppress(OSError):  # it has ended
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _threads(count: int) -> str:
    return "one thread each" if count == 1 else f"{count} threads each"


def _environment(number: int) -> dict[str, str]:
    """Of a helper: the accelerators are dealt out, the first to the process that asks for help."""
    import torch

    environment = {key: value for key, value in os.environ.items() if key not in _LAUNCH}
    count = torch.cuda.device_count()
    if count > 1:
        visible = environment.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
        environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[number % count]
    return environment


def _plain(run: ComparedRun) -> dict[str, Any]:
    candidates = [
        {
            "settings": candidate.settings,
            "recipe": candidate.recipe.resolved(),
            "trial": None if candidate.trial is None else candidate.trial.resolved(),
        }
        for candidate in run.candidates
    ]
    return {**vars(run), "candidates": candidates}


def compared_run(data: dict[str, Any]) -> ComparedRun:
    """A run, from what a helper was told of it."""
    candidates = [
        Candidate(
            one["settings"],
            recipe_from_mapping(one["recipe"]),
            None if one["trial"] is None else recipe_from_mapping(one["trial"]),
        )
        for one in data["candidates"]
    ]
    return ComparedRun(**{**data, "candidates": candidates})
