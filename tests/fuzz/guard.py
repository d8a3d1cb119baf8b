"""Calling the command line under guard: what it opens, runs and leaves behind is seen."""

from __future__ import annotations

import contextlib
import io
import os
import re
import resource
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CODES = (0, 2, 3)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_RUNS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "pty.spawn",
    "webbrowser.open",
)
_MEMORY = 8 << 30


@dataclass
class Said:
    """How a command ended, what it printed, and what it did that nobody asked for."""

    arguments: list[str]
    code: int
    out: str
    err: str
    forbidden: list[str] = field(default_factory=list)


_watching: list[list[str]] = []


def _hook(event: str, arguments: tuple) -> None:
    if not _watching:
        return
    if event == "socket.connect" and getattr(arguments[0], "family", None) != socket.AF_UNIX:
        _watching[-1].append(f"connects to {arguments[1]}")
    elif event == "socket.getaddrinfo":
        _watching[-1].append(f"looks up {arguments[0]}")
    elif event in _RUNS:
        _watching[-1].append(f"{event} {arguments[:2]}")


sys.addaudithook(_hook)


@contextlib.contextmanager
def limited_memory() -> Iterator[None]:
    """What asks for more than 8 GiB fails at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def call(*arguments: object, stdin: bytes = b"", folder: Path) -> Said:
    """The command line in this process, in a folder."""
    from prunekit import cli, console, registry

    typed = [str(argument) for argument in arguments]
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    before = sys.stdin, sys.argv, Path.cwd(), registry.import_folder, list(sys.path)
    forbidden: list[str] = []
    _watching.append(forbidden)
    os.chdir(folder)
    try:
        sys.stdin = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
        sys.argv = ["prunekit", *typed]
        registry.import_folder = folder
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]), limited_memory():
            console.setup()
            code = cli.run(typed)
    finally:
        _watching.pop()
        os.chdir(before[2])
        sys.stdin, sys.argv, registry.import_folder = before[0], before[1], before[3]
        sys.path[:] = before[4]
    out, err = (stream.buffer.getvalue().decode("utf-8") for stream in streams)  # type: ignore[attr-defined]
    return Said(typed, code, out, err, forbidden)


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, with its size and the time it was changed."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if not path.is_dir()
    }


def well_behaved(
    said: Said, may_write: bool = False, before: dict | None = None, folder: Path | None = None
) -> None:
    """It ended as a command should, whatever it was given.

    Raises:
        AssertionError: with what it was given, and what it said.
    """
    told = f"{said.arguments}\n{said.out[-800:]}\n{said.err[-1500:]}"
    assert said.code in CODES, f"exit code {said.code}: {told}"
    assert "Traceback" not in said.err, told
    assert "this is a bug" not in said.err, told
    if said.code:
        assert sum(line.startswith("error: ") for line in said.err.splitlines()) == 1, f"no message: {told}"
    assert not _CONTROL.search(said.out + said.err), f"control characters: {told!r}"
    assert not said.forbidden, f"{said.forbidden}: {told}"
    if not may_write and folder is not None:
        assert contents(folder) == before, f"files were changed: {told}"
