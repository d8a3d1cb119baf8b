"""What files hold, as SHA-256: whether they are still what was written.

A folder that is made whole is *sealed*: ``complete.json`` in it says what every other file holds.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from .files import sync, write_json

SEAL = "complete.json"
_CHUNK = 1 << 20
# A file that was changed so short a time before it was read may be changed again without another time.
_SETTLED_NS = 2 * 10**9
_known: dict[tuple[int, ...], FileDigest] = {}


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path or str(PurePosixPath(path)) != path:
        raise ValueError(f"{path!r} is no path below the folder")
    return path


# A path with "/" that cannot lead out of the folder it is counted from.
InsidePath = Annotated[str, AfterValidator(_inside)]


class FileDigest(BaseModel):
    """What a file holds: SHA-256 in hexadecimal, and its size in bytes."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)


Digests = dict[InsidePath, FileDigest]


class _Seal(BaseModel):
    model_config = ConfigDict(strict=True)

    files: Digests


def digest_file(path: Path) -> FileDigest:
    """What a file holds. One that was read before by this process, and not changed since, is not read again.

    Raises:
        OSError: it is not there, cannot be read, or is no plain file; a symbolic link is not followed.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "it is no plain file", str(path))
        key = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
        if key in _known:
            return _known[key]
        settled = max(about.st_mtime_ns, about.st_ctime_ns) < time.time_ns() - _SETTLED_NS
        found = _read(handle)
    finally:
        os.close(handle)
    if settled and found.size == about.st_size:
        _known[key] = found
    return found


def _read(handle: int) -> FileDigest:
    digest, size = hashlib.sha256(), 0
    while chunk := os.read(handle, _CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return FileDigest(sha256=digest.hexdigest(), size=size)


def digests_of(paths: Iterable[Path], below: Path) -> Digests:
    """What files hold, and all files of folders, by their paths below a folder, sorted.

    Args:
        paths: of files and folders that are there.
        below: their folder, or one around it.
    """
    files: set[Path] = set()
    for path in paths:
        files.update(_files(path) if path.is_dir() else [path])
    return {file.relative_to(below).as_posix(): digest_file(file) for file in sorted(files)}


def damaged(below: Path, files: Mapping[str, FileDigest]) -> dict[str, str]:
    """Which files do not hold any more what they did: path -> what is wrong, in words behind the path."""
    found = {}
    for path, expected in files.items():
        if (wrong := _wrong(below, path, expected)) is not None:
            found[path] = wrong
    return found


def _wrong(below: Path, path: str, expected: FileDigest) -> str | None:
    place = below
    for part in PurePosixPath(path).parts:
        place /= part
        if place.is_symlink():
            return f"is reached by a symbolic link, {place.relative_to(below)}"
    try:
        size = place.lstat().st_size
        # A file of another size need not be read.
        there = digest_file(place) if size == expected.size else None
    except OSError as error:
        return "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
    if there is None:
        return f"has {size} bytes, not {expected.size}"
    return None if there == expected else "holds other bytes than were written"


def seal(folder: Path, **about: Any) -> None:
    """Say that all in a folder is written, once it has reached the disk: what every file of it holds.

    Args:
        folder: all of it is written.
        about: what else there is to say of it, as plain JSON values.
    """
    for file in _files(folder):
        sync(file)
    sync(folder)
    files = digests_of([file for file in _files(folder) if file != folder / SEAL], folder)
    write_json(
        folder / SEAL, {**about, "files": {path: digest.model_dump() for path, digest in files.items()}}
    )


def broken(folder: Path) -> str | None:
    """Why a folder is not what was sealed, in words; ``None``: it is, and has no file more."""
    try:
        files = _Seal.model_validate_json((folder / SEAL).read_bytes()).files
    except OSError as error:
        return f"{SEAL} {'is not there' if isinstance(error, FileNotFoundError) else 'cannot be read'}"
    except ValidationError:
        return f"{SEAL} is damaged, or of an earlier version"
    if wrong := damaged(folder, files):
        path, words = next(iter(wrong.items()))
        return f"{path} {words}"
    more = {file.relative_to(folder).as_posix() for file in _files(folder)} - {*files, SEAL}
    return f"{min(more)} does not belong there" if more else None


def _files(folder: Path) -> list[Path]:
    """All that is no folder, at any depth; symbolic links are not followed."""
    return [Path(place, name) for place, _, names in os.walk(folder) for name in names]
