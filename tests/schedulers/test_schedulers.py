"""Schedulers as properties, and their values by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunekit.schedulers import registry

NAMES = ["one_shot", "linear", "cubic"]


def test_the_three_are_registered():
    assert set(NAMES) <= set(registry.names())


@pytest.mark.parametrize("name", NAMES)
@given(steps=st.integers(1, 300))
def test_fractions_rise_from_zero_to_one(name, steps):
    scheduler = registry.build(name)
    fractions = [scheduler.fraction(step, steps) for step in range(steps + 1)]
    assert fractions[0] == 0.0
    assert fractions[-1] == 1.0
    assert fractions == sorted(fractions)
    assert all(0.0 <= f <= 1.0 for f in fractions)


@given(steps=st.integers(2, 300), data=st.data())
def test_cubic_is_ahead_of_linear_and_slows_down(steps, data):
    step = data.draw(st.integers(1, steps - 1))
    cubic = [registry.build("cubic").fraction(s, steps) for s in (step - 1, step, step + 1)]
    assert cubic[1] > registry.build("linear").fraction(step, steps)
    assert cubic[1] - cubic[0] > cubic[2] - cubic[1]


def test_values_by_hand():
    values = {name: [registry.build(name).fraction(t, 4) for t in range(1, 5)] for name in NAMES}
    assert values["one_shot"] == [1.0, 1.0, 1.0, 1.0]
    assert values["linear"] == [0.25, 0.5, 0.75, 1.0]
    assert values["cubic"] == [1 - 27 / 64, 1 - 8 / 64, 1 - 1 / 64, 1.0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("step", "steps"), [(-1, 4), (5, 4), (0, 0), (1, 0)])
def test_steps_outside_the_schedule_are_refused(name, step, steps):
    with pytest.raises(ValueError, match=f"step {step} is outside"):
        registry.build(name).fraction(step, steps)
