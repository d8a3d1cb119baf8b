"""Shares as people write them: ``1%`` or ``0.01``."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from pydantic import BeforeValidator

from ..errors import RecipeError

logger = logging.getLogger(__name__)

# More than may be lost without a warning, and less than one may ask to be sure.
LARGE_DROP, LEAST_CONFIDENCE = 0.1, 0.5


def read_share(
    value: Any, name: str = "value", example: str = "1%", least: float = 0.0, none: bool = False
) -> Any:
    """``"1%"``, ``"0.01"`` and ``0.01`` are all 0.01; types that hold no number are passed on.

    Args:
        value: what was written.
        name: of the setting, for messages.
        example: a share such as one gives there, in percent.
        least: below this share nothing is proposed.
        none: whether 0 is one.

    Raises:
        RecipeError: text that is no number, or a share that is not between 0 and 1, such as 95 for 95 %.
    """
    share, mend = value, f"write {example} or {float(example.removesuffix('%')) / 100:g}"
    if isinstance(value, bool):
        raise RecipeError(f"{name}: {value} is no share", mend)
    if isinstance(value, str):
        text = value.strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            raise RecipeError(f"{name}: {value!r} is no share", mend) from None
    if _is_number(share) and not 0 < share < 1 and not (none and share == 0):
        percent = isinstance(value, str) and "%" in value
        if 1 <= share < 100 and not percent and share / 100 >= least:
            mend = f"write {share:g}% or {share / 100:g}"
        raise RecipeError(f"{name}: {value} is not between 0 and 1", mend)
    return share


def read_drop(value: Any, name: str = "value") -> Any:
    """:func:`read_share` of what may be lost, in points of a score; 0 is nothing.

    Raises:
        RecipeError: no share.
    """
    return read_share(value, name, none=True)


def read_confidence(value: Any, name: str = "value") -> Any:
    """:func:`read_share` of how sure something must be; less than a coin's toss is a slip of the pen.

    Raises:
        RecipeError: no share, or one below 50 %, such as 0.95% for 95 %.
    """
    share = read_share(value, name, "95%", LEAST_CONFIDENCE)
    if _is_number(share) and share < LEAST_CONFIDENCE:
        # 0.95% is 0.95 with a sign too many.
        slipped = isinstance(value, str) and LEAST_CONFIDENCE <= 100 * share < 1
        meant = f"{10_000 * share:g}%" if slipped else "95%"
        raise RecipeError(
            f"{name}: {value} is less than 50 %, which shows nothing",
            f"did you mean {meant}? It is how sure the promise must be, not how often it may fail",
        )
    return share


def warn_of_large_drop(max_drop: float, name: str) -> None:
    """Say that a promise to lose more than ten points is worth little."""
    if max_drop > LARGE_DROP:
        logger.warning(
            "%s: up to %s of accuracy may be lost, so the guarantee says little; 1%% is one point",
            name, points_words(max_drop),
        )  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def share_words(share: float) -> str:
    """``0.95`` -> ``95 %``."""
    return f"{100 * share:.6g} %"


def points_words(share: float) -> str:
    """``0.01`` -> ``1 point``."""
    points = f"{100 * share:.6g}"
    return f"{points} point" if points == "1" else f"{points} points"


# A number above 0 and below 1 in a recipe, which may also be written in percent.
Share = Annotated[float, BeforeValidator(read_share)]
# The same, or 0.
Drop = Annotated[float, BeforeValidator(read_drop)]
# The same for how sure one must be: 0.5 at least.
Confidence = Annotated[float, BeforeValidator(read_confidence)]
