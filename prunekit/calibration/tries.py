"""How often a model was calibrated: who asks often and keeps the best answer is less sure of it.

``calibrations.json`` in the model's folder holds every question that was asked of it, and its answer, also
where nothing could be shown. The same question has the same answer, and counts once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..files import write_json
from .guarantee import GUARANTEE, Guarantee
from .shares import share_words

FILE = "calibrations.json"
Try = dict[str, Any]
# What makes a question; its answer is the policy.
_QUESTION = ("policies", "tried", "max_drop", "confidence", "bound", "examples", "digest")


def read_tries(folder: Path) -> list[Try]:
    """The answers that a model's folder holds, oldest first.

    Args:
        folder: the model's, with its ``config.json``.

    Raises:
        RunError: a file there holds something else, so that nobody knows how many there were.
    """
    kept, config = _read(folder / FILE, []), _read(folder / "config.json", {})
    if not isinstance(kept, list) or not all(map(_is_try, kept)):
        raise _unreadable(folder / FILE)
    # A recipe's stage stores its answer in the configuration alone.
    if not isinstance(config, dict) or not _is_try(config.get(GUARANTEE) or {"confidence": 0.5}):
        raise _unreadable(folder / "config.json")
    stored = config.get(GUARANTEE)
    return kept if stored is None else [*kept, stored]


def _is_try(answer: Any) -> bool:
    confidence = answer.get("confidence") if isinstance(answer, dict) else None
    return isinstance(confidence, float) and 0 < confidence < 1


def earlier_tries(answers: Sequence[Try], guarantee: Guarantee) -> list[Try]:
    """Other questions asked of a model than the one that ``guarantee`` answers, each once.

    Args:
        answers: what :func:`read_tries` found in its folder.
        guarantee: the answer that is about to be given.
    """
    tries: list[Try] = []
    for other in answers:
        known = any(_question(other) == _question(one) for one in tries)
        if not known and _question(other) != _question(guarantee):
            tries.append(_try(other))
    return tries


def record(folder: Path, earlier: Sequence[Try], guarantee: Guarantee) -> None:
    """Write the questions of a model: those before, and the one that was just answered.

    Raises:
        RunError: the folder cannot be written.
    """
    write_json(folder / FILE, [*earlier, _try(guarantee)])


def tries_words(earlier: Sequence[Try], confidence: float) -> str:
    """What earlier questions take from an answer; nothing where there were none.

    Each answer is wrong with probability ``1 - confidence`` at most, so any is with their sum at most.
    """
    if not earlier:
        return ""
    sure = 1 - (1 - confidence) - sum(1 - one["confidence"] for one in earlier)
    together = f"only {share_words(sure)} sure" if sure > 1e-9 else "not sure at all"
    times, answers = f"{len(earlier)} times", f"all {len(earlier) + 1}"
    if len(earlier) == 1:
        times, answers = "once", "both"
    return (
        f"The model was calibrated {times} before, with other policies, drops, bounds or examples: that "
        f"{answers} answers hold is {together}, and so is the best of them."
    )


def _try(answer: Any) -> Try:
    return {key: answer.get(key) for key in (*_QUESTION, "source", "policy")}


def _question(answer: Any) -> list[Any]:
    return [answer.get(key) for key in _QUESTION]


def _read(file: Path, missing: Any) -> Any:
    try:
        return json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return missing
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(file) from error


def _unreadable(file: Path) -> RunError:
    return RunError(
        f"{file} cannot be read, so how often the model was calibrated before is not known",
        "bring it back from a copy; without it the guarantee counts no earlier calibration",
    )
