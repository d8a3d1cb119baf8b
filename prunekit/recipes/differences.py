"""Where two resolved recipes differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class _Absent:
    """The value of a key that is not there."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()


def flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys; lists stay whole, empty mappings vanish."""
    if not isinstance(data, Mapping):
        return {prefix: data}
    found: dict[str, Any] = {}
    for key, value in data.items():
        found.update(flat(value, f"{prefix}.{key}" if prefix else str(key)))
    return found


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> both values, of those that differ; :data:`ABSENT` for one that is not there."""
    one, other = flat(there), flat(here)
    pairs = {key: (one.get(key, ABSENT), other.get(key, ABSENT)) for key in [*one, *other]}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def difference_lines(differing: Mapping[str, tuple[Any, Any]], words: str, most: int) -> list[str]:
    """One line for each, e.g. with the words ``"{!r} there, {!r} now"``; how many more where there are."""
    lines = [f"  {key}: {words.format(*pair)}" for key, pair in list(differing.items())[:most]]
    return [*lines, f"  and {len(differing) - most} more"] if len(differing) > most else lines
