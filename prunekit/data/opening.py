"""The content of a file of examples or texts: UTF-8, or one message that says what the file is instead."""

from __future__ import annotations

import codecs
import io
import os
import stat
from collections.abc import Iterator
from typing import IO

from ..errors import DataError
from ..text import shown

# How an archive begins -> what it is, whatever its name says.
_ARCHIVES = {
    b"PK\x03\x04": "a zip archive (as an Excel workbook is)",
    b"PK\x05\x06": "an empty zip archive",
    b"PK\x07\x08": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"\x1f\x9d": "an archive of compress",
    b"\xfd7zXZ\x00": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"\x04\x22\x4d\x18": "an lz4 archive",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!\x1a\x07": "a rar archive",
}
# After "BZh" and a digit, which words may begin with: the first block, or the end of an empty archive.
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")
_AS_UTF8 = "save it as UTF-8, e.g. iconv -f {} -t UTF-8 FILE > NEW"
_KINDS = (
    (stat.S_ISDIR, "a folder, not a file"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_file(path: str, key: str, expected: str) -> None:
    """Refuse what is no ordinary file.

    Args:
        path: the file.
        key: the recipe's key or the option that named it, for messages.
        expected: what to give instead.

    Raises:
        DataError: it does not exist, cannot be looked at, or is a folder, a pipe, a socket or a device.
    """
    name = f"{key}: {shown(path, keep='')}"
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - a Path refuses some of what may be given
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{name} does not exist", expected) from None
    except OSError as error:
        raise cannot_read(name, error) from error
    except ValueError:  # a NUL character, or what the file system's encoding cannot write
        raise DataError(f"{name} cannot be the path of a file", expected) from None
    for is_kind, words in _KINDS:
        if is_kind(mode):
            reason = "" if is_kind is stat.S_ISDIR else ": examples are read more than once"
            raise DataError(f"{name} is {words}{reason}", expected)


def cannot_read(name: str, error: OSError) -> DataError:
    """What to say where the system does not let a file be read."""
    return DataError(
        f"{name} cannot be read: {error.strerror or error}", "check the path and its permissions"
    )


def content_of(path: str, key: str, size: int = -1) -> bytes:
    """The bytes of a file, which is not an archive.

    Args:
        path: the file.
        key: what named it, for messages.
        size: so many of them; all by default.

    Raises:
        DataError: it cannot be read, or is an archive.
    """
    name = f"{key}: {shown(path, keep='')}"
    try:
        with open(path, "rb") as stream:  # noqa: PTH123
            content = stream.read(size)
    except OSError as error:
        raise cannot_read(name, error) from error
    refuse_archive(content, name)
    return content


def refuse_archive(content: bytes, name: str) -> None:
    """Refuse an archive, whatever it is called.

    Args:
        content: how it begins, at least.
        name: what it is called, for messages.
    """
    kind = next((words for beginning, words in _ARCHIVES.items() if content.startswith(beginning)), None)
    if content[257:262] == b"ustar":
        kind = "a tar archive"
    elif content.startswith(b"BZh") and content[4:10] in _BZIP2_BLOCKS:
        kind = "a bzip2 archive"
    if kind is not None:
        raise DataError(
            f"{name} is {kind}, not a file of texts", "unpack it, and give the file that is inside"
        )


def text_of(content: bytes, name: str) -> str:
    """Bytes as text, without a byte order mark.

    Args:
        content: all bytes of a file.
        name: what it is called, for messages.

    Raises:
        DataError: it is not UTF-8; with the line and the byte.
    """
    if content.startswith(b"PAR1"):
        raise DataError(
            f"{name} is a parquet file under another name", "rename it, so that it ends in .parquet"
        )
    _refuse_wide(content, name)
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        byte = len(before) - before.rfind(b"\n")
        raise not_utf8(name, before.count(b"\n") + 1, byte, content[error.start]) from None


def _refuse_wide(content: bytes, name: str) -> None:
    """UTF-16 and UTF-32, with a byte order mark, or else by the zeros beside plain letters."""
    marked = content.startswith((b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff"))
    halves = [content[first:400:2] for first in (0, 1)]
    if marked or (len(content) > 3 and any(half.count(0) > 0.8 * len(half) for half in halves)):
        raise DataError(f"{name} is not UTF-8 text but UTF-16 (or UTF-32)", _AS_UTF8.format("UTF-16"))


def not_utf8(name: str, line: int, byte: int, value: int) -> DataError:
    """What to say of a byte that is not UTF-8.

    Args:
        name: of the file, for messages.
        line, byte: where it is, the byte in its line; from 1.
        value: the byte.
    """
    return DataError(
        f"{name} is not UTF-8 text: line {line}, byte {byte} of the line is 0x{value:02x}",
        _AS_UTF8.format("WINDOWS-1252") + " (or whatever it is written in)",
    )


def lines_of(text: str) -> Iterator[str]:
    r"""The lines of a text with their ends: ``\n``, ``\r\n`` or ``\r``, and no other characters."""
    return iter(io.StringIO(text, newline=""))


def lines_of_stream(stream: IO[bytes], name: str) -> Iterator[str]:
    """The lines of a stream as they come, without their ends and without a byte order mark.

    Args:
        stream: may never end.
        name: what it is called, for messages.

    Raises:
        DataError: at the first line that is not UTF-8; with the line and the byte.
    """
    text = io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline=None)
    try:
        for number, line in enumerate(text, 1):
            if number == 1:
                written = line.encode("utf-8", "surrogateescape")
                refuse_archive(written, name)
                _refuse_wide(written, name)
                line = line.removeprefix("\ufeff")
            yield _checked(line.removesuffix("\n"), name, number)
    finally:
        text.detach()


def _checked(line: str, name: str, number: int) -> str:
    try:
        line.encode("utf-8")
    except UnicodeEncodeError as error:
        before = line[: error.start].encode("utf-8")
        raise not_utf8(name, number, len(before) + 1, ord(line[error.start]) - 0xDC00) from None
    return line
