"""What parts take for a number, by a table of their own and for any value of another type."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunekit.arguments import flag, number, one_of, whole
from prunekit.errors import BudgetError, RecipeError

# What YAML can hold and no number is.
OTHERS = (
    st.text() | st.none() | st.booleans() | st.lists(st.integers())
    | st.dictionaries(st.text(), st.integers())
    | st.sampled_from([math.nan, math.inf, -math.inf, b"1", 1j, torch.ones(2), np.bool_(True)])
)  # fmt: skip


@given(value=OTHERS)
def test_what_is_no_number_is_refused_by_its_place(value):
    for check in (number, whole):
        with pytest.raises(RecipeError, match=r"part\.size: .* is not a (finite|whole) number"):
            check(value, "part.size")
    if not isinstance(value, bool):
        with pytest.raises(RecipeError, match=r"part\.size: "):
            flag(value, "part.size")


@given(value=st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53))
def test_numbers_are_kept(value):
    assert number(value, "part.size") == value
    assert isinstance(number(value, "part.size"), float)
    if isinstance(value, float):
        with pytest.raises(RecipeError, match="is not a whole number"):
            whole(value, "part.size")
    else:
        assert whole(value, "part.size") == value


@pytest.mark.parametrize("value", [np.float32(0.5), np.int64(3), Fraction(1, 2)])
def test_numbers_of_other_libraries(value):
    assert number(value, "part.size") == float(value)


@pytest.mark.parametrize(
    ("check", "value", "bounds", "words"),
    [
        (number, 0, {"above": 0}, "0 is not above 0\n  a number above 0 was"),
        (number, 2, {"above": 0, "most": 1}, "2 is above 1\n  a number above 0, at most 1 was"),
        (number, -1, {"least": 0}, "-1 is below 0\n  a number of at least 0 was"),
        (whole, 0, {"least": 1}, "0 is below 1\n  a whole number of at least 1 was"),
        (whole, 10**30, {"least": 1, "most": 9}, "is above 9\n  a whole number from 1 to 9 was"),
        (whole, 10, {"most": 9}, "10 is above 9\n  a whole number of at most 9 was"),
        (number, 10**400, {}, "so large a number is not a finite number"),
        (whole, 1 << 1500, {"most": 9}, "so large a number is above 9"),
    ],
)
def test_bounds(check, value, bounds, words):
    with pytest.raises(BudgetError) as raised:
        check(value, "part.size", **bounds, error=BudgetError)
    assert str(raised.value).startswith("part.size: ") and words in str(raised.value)


@given(value=OTHERS | st.integers())
def test_names_out_of_a_few(value):
    if value in ("a", "b") if isinstance(value, str) else False:
        return
    with pytest.raises(RecipeError, match=r"part\.kind: .*\n  'a' or 'b' was expected"):
        one_of(value, "part.kind", ("a", "b"))
    assert one_of("b", "part.kind", ("a", "b")) == "b"


def test_long_values_are_cut():
    with pytest.raises(RecipeError) as raised:
        number("x" * 10_000, "part.size")
    assert len(str(raised.value)) < 200
