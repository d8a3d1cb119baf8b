"""``metrics.jsonl``: everything that stages measure, one JSON object a line."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ..errors import RunError
from ..files import open_in_place, plain, write_text

logger = logging.getLogger(__name__)
_KEY = ("stage", "phase", "kind", "step")


class MetricsLog:
    """Appends records; what a resumed run measures again takes the place of what it measured before.

    A record is found by ``stage``, ``phase``, ``kind`` and ``step``; its other keys are measurements.

    Args:
        path: the file; made with the first record.
        writes: ``False`` on the processes that only help to train.
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path = path
        self.writes = writes

    def log(self, stage: str, kind: str, *, phase: str = "", step: int = 0, **values: Any) -> None:
        """Append a record.

        Raises:
            RunError: the file cannot be written.
        """
        if not self.writes:
            return
        record = {"stage": stage, "phase": phase, "kind": kind, "step": step, **values}
        line = json.dumps(plain(record), ensure_ascii=False, allow_nan=False) + "\n"
        try:
            with open_in_place(self.path, "ab+") as stream:
                # A write that a kill cut short must not swallow this line as well.
                if not _ends_with_newline(stream):
                    line = "\n" + line
                stream.write(line.encode("utf-8"))
        except OSError as error:
            raise RunError(
                f"cannot write {self.path}: {error.strerror or error}",
                "make room, then apply the recipe again",
            ) from error

    def records(self, stage: str | None = None, kind: str | None = None) -> list[dict[str, Any]]:
        """What was measured, in order; of a repeated measurement the last."""
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for record in self._lines():
            found[tuple(record.get(name) for name in _KEY)] = record
        return [
            record
            for record in found.values()
            if (stage is None or record["stage"] == stage) and (kind is None or record["kind"] == kind)
        ]

    def compact(self) -> None:
        """Rewrite the file without repeated and cut-off lines."""
        if self.writes and self.path.exists():
            write_text(self.path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in self.records()))

    def _lines(self) -> Iterator[dict[str, Any]]:
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return
        except OSError as error:
            raise RunError(
                f"cannot read {self.path}: {error.strerror or error}",
                "remove it: measurements go on in a new one",
            ) from error
        bad = 0
        for number, line in enumerate(lines, 1):
            record = _record(line) if line.strip() else None
            if record is not None:
                yield record
            elif line.strip() and number < len(lines):
                bad += 1  # else a kill cut it off: it is measured again
        if bad:
            logger.warning("%s: damaged lines, which are left out: %d", self.path, bad)


def _record(line: bytes) -> dict[str, Any] | None:
    """A line's record; ``None``: it is none."""
    try:
        record = json.loads(line)
        json.dumps(record, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not all(isinstance(record.get(name), str) for name in _KEY[:3]):
        return None
    return record if type(record.get("step")) is int else None


def _ends_with_newline(stream: IO[bytes]) -> bool:
    if not stream.seek(0, os.SEEK_END):
        return True
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) == b"\n"
