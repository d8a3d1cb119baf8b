"""Checks of what parts are given: numbers, whole numbers, names out of a few.

Each gives the value back, and else raises an error that names the part and the argument, such as
``magnitude.p``, so that a wrong one is known when the part is made and not when it is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from .errors import PrunekitError, RecipeError

# Long values are cut where a message shows them.
_SHOWN = 60


def number(
    value: Any,
    place: str,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    error: type[PrunekitError] = RecipeError,
) -> float:
    """A finite number, as a float; truth values and text are none.

    Args:
        value: what was given.
        place: part and argument, e.g. ``"magnitude.p"``.
        above: the number must be larger.
        least, most: it may be these.
        error: the class to raise.
    """
    wanted = "a number" + _range(above, least, most)
    found = _real(value)
    if not math.isfinite(found):
        raise error(f"{place}: {_shown(value)} is not a finite number", f"{wanted} was expected")
    _check_range(found, value, place, (above, least, most), wanted, error)
    return found


def whole(
    value: Any,
    place: str,
    *,
    least: int | None = None,
    most: int | None = None,
    error: type[PrunekitError] = RecipeError,
) -> int:
    """A whole number; ``2.0``, truth values and text are none. Arguments as of :func:`number`."""
    wanted = "a whole number" + _range(None, least, most)
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        raise error(f"{place}: {_shown(value)} is not a whole number", f"{wanted} was expected")
    found = int(value)
    _check_range(found, value, place, (None, least, most), wanted, error)
    return found


def one_of(value: Any, place: str, choices: Sequence[str], error: type[PrunekitError] = RecipeError) -> str:
    """One of a few names."""
    if not isinstance(value, str) or value not in choices:
        words = ", ".join(repr(choice) for choice in choices[:-1])
        raise error(f"{place}: {_shown(value)} is not known", f"{words} or {choices[-1]!r} was expected")
    return value


def flag(value: Any, place: str, error: type[PrunekitError] = RecipeError) -> bool:
    """``True`` or ``False``, and nothing that is like them."""
    if not isinstance(value, bool):
        raise error(f"{place}: {_shown(value)} is neither true nor false")
    return value


def _real(value: Any) -> float:
    """As a float; NaN for what is no number, infinite for what is too large for one."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _shown(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > 1000:
        return "so large a number"  # Python does not write out any
    words = "nothing" if value is None else repr(value)
    return words if len(words) <= _SHOWN else f"{words[:_SHOWN]}..."


def _range(above: float | None, least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f" from {least:,} to {most:,}"
    if above is not None:
        return f" above {above:g}" + ("" if most is None else f", at most {most:,}")
    if least is not None:
        return f" of at least {least:,}"
    return "" if most is None else f" of at most {most:,}"


def _check_range(
    found: float,
    value: Any,
    place: str,
    bounds: tuple[float | None, float | None, float | None],
    wanted: str,
    error: type[PrunekitError],
) -> None:
    above, least, most = bounds
    if above is not None and not found > above:
        raise error(f"{place}: {_shown(value)} is not above {above:g}", f"{wanted} was expected")
    if least is not None and found < least:
        raise error(f"{place}: {_shown(value)} is below {least:,}", f"{wanted} was expected")
    if most is not None and found > most:
        raise error(f"{place}: {_shown(value)} is above {most:,}", f"{wanted} was expected")
