"""What was shown of a model's exit policy, in words, and where that is kept: its ``config.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypedDict, cast

from ..errors import CheckpointError
from ..exits.policies import policy_words
from ..files import write_text
from .choosing import Calibration
from .shares import points_words, share_words

POLICY, GUARANTEE = "exit_policy", "exit_guarantee"


class Guarantee(TypedDict):
    """``exit_guarantee`` in a model's ``config.json``.

    Attributes:
        policy: that it is about; ``None``: all layers.
        max_drop: share of the examples, e.g. 0.01 for one point of accuracy.
        metric: ``"accuracy"``.
        examples: number of calibration examples; ``source`` says which.
        drop: seen on them.
        saved: share of the FLOPs of all layers that was saved on them.
        tried: number of policies; ``policies`` their names.
        digest: of the calibration examples, where it is known.
        words: what a person should know.
    """

    policy: dict[str, Any] | None
    max_drop: float
    confidence: float
    metric: str
    examples: int
    source: str
    bound: str
    drop: float
    saved: float
    tried: int
    policies: str
    digest: str | None
    words: str


def told(
    calibration: Calibration, source: str, reservation: str = "", digest: str | None = None
) -> Guarantee:
    """The guarantee that a calibration gives; without a safe policy that of all layers.

    Args:
        source: what the examples are, e.g. ``"calibration examples of sst2"``.
        reservation: what keeps them from being untouched, if anything.
        digest: of them, equal for the same examples.
    """
    chosen = calibration.chosen
    return Guarantee(
        policy=None if chosen is None else chosen.policy,
        max_drop=calibration.max_drop,
        confidence=calibration.confidence,
        metric="accuracy",
        examples=calibration.examples,
        source=source,
        bound=calibration.bound,
        drop=0.0 if chosen is None else chosen.drop,
        saved=0.0 if chosen is None else 1 - chosen.cost,
        tried=len(calibration.tried),
        policies=", ".join(dict.fromkeys(str(tried.policy["name"]) for tried in calibration.tried)),
        digest=digest,
        words=_words(calibration, source, reservation),
    )


def _words(calibration: Calibration, source: str, reservation: str) -> str:
    sure, most = share_words(calibration.confidence), points_words(calibration.max_drop)
    ground = f"{calibration.examples:,} {source}"
    if calibration.chosen is None:
        return (
            f"Every input goes through all layers: of {len(calibration.tried)} exit policies none that lets "
            f"any leave early could be shown, with {sure} confidence on {ground}, to lose at most {most} of "
            "accuracy."
        )
    words = (
        f"With {sure} confidence, leaving early by {policy_words(calibration.chosen.policy)} loses at most "
        f"{most} of accuracy against all layers of this model. Shown on {ground}, for inputs of the same "
        "kind and on average; it says nothing of other inputs."
    )
    return f"{words} {reservation}" if reservation else words


def guarantee_of(config: Any) -> Guarantee | None:
    """The guarantee of a model, if it has one and it is of the policy that the model has now."""
    guarantee = getattr(config, GUARANTEE, None)
    if guarantee is None or guarantee["policy"] != getattr(config, POLICY, None):
        return None
    return cast("Guarantee", guarantee)


def store(folder: Path, guarantee: Guarantee) -> None:
    """Put a policy and its guarantee into a model folder's ``config.json``, and into its card.

    The card says at its top which policy the model has now, and that its figures are of the one
    before. The files else stay as they are; a folder without a card gets none.

    Raises:
        CheckpointError: the file cannot be read.
        RunError: it cannot be written; what was there is untouched.
    """
    from ..reports import with_guarantee
    from .card import with_policy_in_force

    file = folder / "config.json"
    try:
        config = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {file}: {error}", "copy the model folder again") from error
    config |= {POLICY: guarantee["policy"], GUARANTEE: dict(guarantee)}
    write_text(file, json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    card = folder / "README.md"
    if card.is_file():
        words = with_guarantee(card.read_text("utf-8"), guarantee["words"])
        write_text(card, with_policy_in_force(words, guarantee))
