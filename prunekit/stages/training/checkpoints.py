"""Checkpoints that are whole or not there.

``transformers.Trainer`` writes a checkpoint file by file. Here a marker is written last, after everything
else has reached the disk; a folder without it is what a kill left, and is removed.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from ...files import sync, write_json

MARKER = "complete.json"
_NAME = re.compile(r"checkpoint-(\d+)")


def checkpoint(folder: Path, step: int) -> Path:
    """The folder of a step's checkpoint, in the Trainer's manner."""
    return folder / f"checkpoint-{step}"


def checkpoints(folder: Path) -> dict[int, Path]:
    """All checkpoint folders, whole or not: step -> folder, ascending."""
    if not folder.is_dir():
        return {}
    found = {int(m[1]): p for p in folder.iterdir() if (m := _NAME.fullmatch(p.name))}
    return dict(sorted(found.items()))


def last_complete(folder: Path) -> Path | None:
    """The newest whole checkpoint; those that are not whole are removed."""
    newest = None
    for path in checkpoints(folder).values():
        if (path / MARKER).is_file():
            newest = path
        else:
            shutil.rmtree(path)
    return newest


def mark_complete(path: Path) -> None:
    """Say that a checkpoint is whole, once all of it is on the disk."""
    for file in path.iterdir():
        sync(file)
    sync(path)
    write_json(path / MARKER, {"files": sorted(file.name for file in path.iterdir())})
    sync(path.parent)


def remove_others(folder: Path, keep: set[int]) -> None:
    """Remove all checkpoints but those of the steps in ``keep``."""
    for step, path in checkpoints(folder).items():
        if step not in keep:
            # Without its marker first, so that half a removal is not taken for a checkpoint.
            (path / MARKER).unlink(missing_ok=True)
            shutil.rmtree(path)
