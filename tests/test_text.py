"""Text from outside, as it is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunekit.text import has_surrogates, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text, café 日本 🍲", "plain text, café 日本 🍲"),
        ("\x1b]0;TITLE\x07\x1b[2J", "\\x1b]0;TITLE\\x07\\x1b[2J"),
        ("a\tb\nc\r", "a\tb\nc\\r"),
        ("\x9b31m", "\\x9b31m"),
        ("\udc80 \u202eabc\u2028", "\\udc80 \\u202eabc\\u2028"),
    ],
)
def test_control_characters_become_visible(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_nothing_is_kept_where_one_line_is_asked_for() -> None:
    assert shown("a\tb\nc", keep="") == "a\\tb\\nc"


@given(st.text(st.characters()))
def test_what_is_shown_can_be_written_and_steers_nothing(text: str) -> None:
    safe = shown(text, keep="")
    assert safe.isprintable() or all(c.isprintable() or ord(c) > 0x9F for c in safe)
    assert safe.encode("utf-8").decode("utf-8") == safe
    assert shown(safe, keep="") == safe
    assert not has_surrogates(safe)
