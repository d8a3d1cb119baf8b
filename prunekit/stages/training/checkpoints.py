"""Checkpoints that are whole or not there.

``transformers.Trainer`` writes a checkpoint file by file. Here it is sealed last, after everything else has
reached the disk: a folder that is not as it was sealed is what a kill left, or damaged, and is removed.
"""

from __future__ import annotations

import logging
import re
import shutil
from pathlib import Path

from transformers import TrainerState

from ...digests import SEAL, broken, seal
from ...errors import first_line
from ...files import sync

logger = logging.getLogger(__name__)
STATE = "trainer_state.json"
_NAME = re.compile(r"checkpoint-([0-9]+)")


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
        if (why := broken(path)) is None:
            newest = path
            continue
        # Without a seal it is what a kill left.
        _remove(path, why if (path / SEAL).exists() else None)
    return newest


def last_to_go_on_from(folder: Path) -> Path | None:
    """The newest checkpoint that training can go on from; those that it cannot are removed."""
    while (path := last_complete(folder)) is not None:
        if (why := _useless(path)) is None:
            return path
        _remove(path, why)
    return None


def _remove(path: Path, why: str | None) -> None:
    if why is not None:
        logger.warning("the checkpoint %s is removed: %s", path, why)
    shutil.rmtree(path)


def _useless(path: Path) -> str | None:
    """Why training cannot go on from a whole checkpoint, in words; ``None``: it can."""
    try:
        state = TrainerState.load_from_json(str(path / STATE))
    except Exception as error:  # whatever the file holds becomes the arguments of a class
        return f"{STATE} cannot be read: {first_line(error)}"
    if checkpoint(path.parent, state.global_step) != path:
        return f"{STATE} is of step {state.global_step}"
    best = state.best_global_step
    if best is not None and not checkpoint(path.parent, best).is_dir():
        return f"{checkpoint(path.parent, best).name}, the best one so far, is not there"
    return None


def mark_complete(path: Path) -> None:
    """Say that a checkpoint is whole, once all of it is on the disk."""
    seal(path)
    sync(path.parent)


def remove_others(folder: Path, keep: set[int]) -> None:
    """Remove all checkpoints but those of the steps in ``keep``."""
    for step, path in checkpoints(folder).items():
        if step not in keep:
            # Without its seal first, so that half a removal is not taken for a damaged checkpoint.
            (path / SEAL).unlink(missing_ok=True)
            shutil.rmtree(path)
