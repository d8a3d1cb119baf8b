"""Shares as people write them: ``1%`` or ``0.01``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from ..errors import RecipeError


def read_share(value: Any, name: str = "value") -> Any:
    """``"1%"``, ``"0.01"`` and ``0.01`` are all 0.01; other types are passed on.

    Raises:
        RecipeError: text that is no number, or a share that is not between 0 and 1, such as 95 for 95 %.
    """
    share = value
    if isinstance(value, str):
        text = value.strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            raise RecipeError(f"{name}: {value!r} is no share", "write 1% or 0.01") from None
    if isinstance(share, (int, float)) and not isinstance(share, bool) and not 0 < share < 1:
        percent = isinstance(value, str) and "%" in value
        mend = f"write {share:g}% or {share / 100:g}" if 1 <= share < 100 and not percent else None
        raise RecipeError(f"{name}: {value} is not between 0 and 1", mend or "write 1% or 0.01")
    return share


def share_words(share: float) -> str:
    """``0.95`` -> ``95 %``."""
    return f"{100 * share:.6g} %"


def points_words(share: float) -> str:
    """``0.01`` -> ``1 point``."""
    points = f"{100 * share:.6g}"
    return f"{points} point" if points == "1" else f"{points} points"


# A number above 0 and below 1 in a recipe, which may also be written in percent.
Share = Annotated[float, BeforeValidator(read_share)]
