"""Values that nobody expects, for keys of recipes, configurations and records."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import strategies as st

TEXTS = [
    "", " ", "abc", "0", "-1", "1%", "null", "[/]", "[red]x", ":smile:", "\x1b[2J\x1b]0;T\x07", "\u202eabc",
    "a\tb\nc", "evil:P", ".evil:P", ":", "os:system", "antigravity:P", "..", "../../x", "/", "/dev/null",
    "/proc/self/mem", "~", "hf://datasets/x/y", "http://127.0.0.1:9/x", "日本", "<script>alert(1)</script>",
    "${HOME}", "$(touch x)", "a" * 5000, "a\x00b", "__class__", "trust_remote_code", "{x}", "%s%n", "nan",
    "inf", "1e400", "True",
]  # fmt: skip
NUMBERS = [
    0, 1, -1, 2, 3, 7, 16, 100, 2**31, 2**63, 10**30, -(2**40), 0.5, -0.5, 1.5, 1e-300, 1e308, math.nan,
    math.inf, -math.inf,
]  # fmt: skip

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS),
    st.sampled_from(TEXTS),
    st.text(max_size=8),
    st.integers(),
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(TEXTS[:12]), inner, max_size=3)
    ),
    max_leaves=6,
)


def as_yaml(value: Any) -> str:
    """A value as one could type it behind an override's equals sign."""
    text = json.dumps(value)
    for word, yaml in (("NaN", ".nan"), ("-Infinity", "-.inf"), ("Infinity", ".inf")):
        text = text.replace(word, yaml)
    return text


@st.composite
def changed_json(draw: Any, data: Any, keep: tuple[str, ...] = ()) -> Any:
    """A JSON value with one or two of its parts replaced, removed or added."""
    data = json.loads(json.dumps(data))
    for _ in range(draw(st.integers(1, 2))):
        holders = [holder for holder in _holders(data) if holder]
        if not holders:
            return draw(values)
        holder = draw(st.sampled_from(holders))
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = draw(st.sampled_from(keys))
        what = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
        if what == "replace":
            holder[key] = draw(values)
        elif what == "remove":
            del holder[key]
        elif isinstance(holder, dict):
            holder[draw(st.sampled_from(TEXTS))] = draw(values)
    return data


def _holders(data: Any) -> list[Any]:
    found = [data] if isinstance(data, (dict, list)) else []
    inner = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return found + [holder for value in inner for holder in _holders(value)]


@st.composite
def changed_bytes(draw: Any, data: bytes) -> bytes:
    """Bytes with some of them replaced, removed or added, or cut off."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        what = draw(st.sampled_from(["flip", "cut", "insert", "remove", "repeat"]))
        if what == "flip" and data:
            data = data[:at] + bytes([data[at] ^ (1 << draw(st.integers(0, 7)))]) + data[at + 1 :]
        elif what == "cut":
            data = data[:at]
        elif what == "insert":
            data = data[:at] + draw(st.sampled_from(_PIECES)) + data[at:]
        elif what == "remove":
            data = data[:at] + data[at + draw(st.integers(1, 40)) :]
        else:
            data = data[:at] + data[at : at + 30] * draw(st.integers(2, 4)) + data[at + 30 :]
    return data


_PIECES = [
    b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b'"', b"'", b"\t", b"\n", b"\r", b"\r\n", b";", b",",
    b"{", b"}", b"[", b"]", b": ", b"- ", b"<<: ", b"&a ", b"*a", b"!!int ",
    b"!!python/object/apply:os.system ", b"|\n", b"#", b"\x1b[2J", b"\\ud800", b"1e999", b"---\n",
    b"%YAML 9\n", b"PK\x03\x04", b"\x1f\x8b\x08", "日".encode(),
]  # fmt: skip
