"""The one way to write a file: under a temporary name beside it, synced, then renamed.

A reader sees the old file or the new one, never half of one, whenever the writer is killed.
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from .errors import RunError

# What `write_with` calls a file, and `checkpoints.save` a model's folder, until it is whole.
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}(?P<file>\.tmp)?")


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write ``data`` to ``path`` atomically; folders on the way are made.

    Raises:
        RunError: the folder cannot be written (read-only, full disk); what was there is untouched.
    """
    return write_with(path, lambda stream: stream.write(data))


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write ``text`` as UTF-8 atomically."""
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], value: Any, indent: int | None = 2) -> Path:
    """Write ``value`` as strict JSON atomically; not-a-number and infinity become null.

    NumPy and torch scalars and arrays become numbers and lists, paths become strings.
    """
    return write_text(
        path, json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False) + "\n"
    )


def write_with(path: str | os.PathLike[str], write: Callable[[IO[bytes]], Any]) -> Path:
    """Atomically write what ``write`` puts into the binary stream it is given."""
    target = Path(path)
    temporary: str | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        with os.fdopen(handle, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files private; a report is as readable as any other new file.
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(target)
        temporary = None
        # The rename itself, too.
        sync(target.parent)
    except OSError as error:
        raise RunError(
            f"cannot write {target}: {error.strerror or error}",
            "make room or give a folder that can be written; what was there before is untouched",
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    return target


def remove_leftovers(folder: Path, files: Collection[str] = (), models: Collection[str] | None = ()) -> None:
    """Remove what a process left in a folder that was killed while it wrote there. All else stays.

    Args:
        folder: nobody else writes there meanwhile.
        files: names of those that are written there, whole or not at all.
        models: names of the folders of models; ``None``: any.
    """
    for entry in list(folder.iterdir()) if folder.is_dir() else ():
        made = _TEMPORARY.fullmatch(entry.name)
        if made is None or entry.is_symlink():
            continue
        if made["file"] and made["name"] in files and entry.is_file():
            entry.unlink()
        elif not made["file"] and (models is None or made["name"] in models) and _is_half_a_model(entry):
            shutil.rmtree(entry)


def _is_half_a_model(folder: Path) -> bool:
    """Whether a folder is one that ``checkpoints.save`` works in."""
    return folder.is_dir() and {entry.name for entry in folder.iterdir()} <= {"new", "old"}


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, have reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def plain(value: Any) -> Any:
    """``value`` as what JSON can hold; keys become strings, and numbers that are not finite null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # NumPy arrays and scalars, torch tensors
        return plain(value.tolist())
    raise TypeError(f"{type(value).__name__} cannot be written as JSON: {value!r}")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def open_in_place(path: Path, mode: Literal["rb+", "ab+"]) -> IO[bytes]:
    """Open a file to change it in place, made if need be. Nothing of what it holds is cut off.

    Raises:
        RunError: a symbolic link, which may lead to anybody's file, is refused.
        OSError: it cannot be opened.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_APPEND if mode == "ab+" else 0)
    try:
        handle = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise is_a_link(path) from error
        raise
    return os.fdopen(handle, mode)


def is_a_link(path: Path) -> RunError:
    """The error of a symbolic link where a run has a file or folder of its own."""
    return RunError(
        f"{path} is a symbolic link: what a run writes there would change what the link leads to",
        "remove the link, or put what it leads to in its place: then give the same command again",
    )


@contextmanager
def locked(path: str | os.PathLike[str], *, wait: bool = True) -> Iterator[bool]:
    """Hold a file's lock, which no other process holds then. The system drops it when a process ends.

    Args:
        path: made if need be, with the folders on the way; what is in it stays.
        wait: for another process that holds it.

    Yields:
        Whether it is held: always, after waiting.

    Raises:
        RunError: the path is a symbolic link.
    """
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    with open_in_place(file, "rb+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except (BlockingIOError, PermissionError):
            if wait:
                raise
            yield False
        else:
            yield True


def write_folder(target: Path, fill: Callable[[Path], None]) -> Path:
    """Have ``fill`` write into a new folder, then put it in the place of ``target``, whole or not at all.

    Args:
        target: the folder; what it held is replaced.
        fill: called with an empty folder beside it.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as temporary:
        new = Path(temporary) / "new"
        new.mkdir()
        fill(new)
        for path in [*new.rglob("*"), new]:
            sync(path)
        old = Path(temporary) / "old"
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
    return target
