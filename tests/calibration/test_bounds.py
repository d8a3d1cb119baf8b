"""P-values against scipy, against a plain loop, and against the promise they make."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from prunekit.calibration import (
    betting_p_values,
    binomial_p_values,
    check_examples,
    fewest_examples,
    stronger_bound,
)
from prunekit.errors import DataError

TRIALS = 4000


def samples(harmed: float, helped: float, size: int, trials: int = TRIALS, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).random((trials, size))
    return np.where(drawn < harmed, 1, np.where(drawn < harmed + helped, -1, 0))


def allowed(level: float) -> float:
    """A share that is exceeded once in 10,000 times by chance where ``level`` is the true one."""
    return float(binom.ppf(0.9999, TRIALS, level)) / TRIALS


@given(st.integers(1, 400), st.floats(0.001, 0.5), st.data())
def test_the_binomial_tail_is_scipys(size: int, drop: float, data: st.DataObject) -> None:
    harmed = data.draw(st.integers(0, size))
    helped = data.draw(st.integers(0, size - harmed))
    losses = np.array([[1] * harmed + [-1] * helped + [0] * (size - harmed - helped)])
    assert binomial_p_values(losses, drop)[0] == pytest.approx(binom.cdf(harmed, size, drop), rel=1e-9)


def test_a_large_sample_does_not_overflow() -> None:
    losses = samples(0.004, 0, 60_000, trials=2)
    expected = binom.cdf((losses > 0).sum(axis=1), 60_000, 0.004)
    assert binomial_p_values(losses, 0.004) == pytest.approx(expected, rel=1e-7)
    assert np.isfinite(betting_p_values(losses, 0.004, 0.95)).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=80), st.floats(0.005, 0.3))
def test_betting_is_the_plain_loop(losses: list[int], drop: float) -> None:
    """One who bets sees what came before, and no more."""
    capital, most, m = 1.0, 1.0, (1 + drop) / 2
    seen: list[float] = []
    means: list[float] = []
    for loss in losses:
        spread = 0.25 + sum((x - mean) ** 2 for x, mean in zip(seen, means, strict=True))
        variance = spread / (len(seen) + 1)
        stake = min(math.sqrt(2 * math.log(20) / (len(losses) * variance)), 0.75 / (1 - m))
        x = (1 + loss) / 2
        capital *= 1 + stake * (m - x)
        most = max(most, capital)
        seen.append(x)
        means.append((0.5 + sum(seen)) / (len(seen) + 1))
    assert capital > 0
    assert betting_p_values(np.array([losses]), drop, 0.95)[0] == pytest.approx(1 / most, rel=1e-6)


@pytest.mark.parametrize("level", [0.05, 0.2])
@pytest.mark.parametrize(
    ("harmed", "helped", "size", "drop"),
    [
        (0.01, 0.0, 500, 0.01),
        (0.03, 0.02, 800, 0.01),
        (0.012, 0.002, 1500, 0.01),
        (0.2, 0.15, 300, 0.05),
        (0.5, 0.45, 200, 0.05),
    ],
)
def test_at_the_limit_hardly_any_sample_is_fooled(
    harmed: float, helped: float, size: int, drop: float, level: float
) -> None:
    """Where exactly ``drop`` is lost, at most the promised share of samples shows that less is."""
    losses = samples(harmed, helped, size)
    assert (binomial_p_values(losses, drop) <= level).mean() <= allowed(level)
    assert (betting_p_values(losses, drop, 1 - level) <= level).mean() <= allowed(level)


def test_what_the_table_says() -> None:
    """The docstring's table: betting is stronger, but in small samples."""

    def shown(harmed: float, helped: float, size: int) -> tuple[float, float]:
        losses = samples(harmed, helped, size, trials=2000)
        return (
            float((binomial_p_values(losses, 0.01) <= 0.05).mean()),
            float((betting_p_values(losses, 0.01, 0.95) <= 0.05).mean()),
        )

    for row, table in (
        ((0, 0, 300), (1.00, 0.00)),
        ((0.001, 0, 500), (0.91, 0.67)),
        ((0.005, 0.005, 1000), (0.44, 0.72)),
        ((0.01, 0.015, 1000), (0.02, 0.76)),
    ):
        assert shown(*row) == pytest.approx(table, abs=0.04)


def test_which_is_expected_to_be_stronger() -> None:
    assert stronger_bound(599, 0.01, 0.95) == "binomial"
    assert stronger_bound(600, 0.01, 0.95) == "betting"
    assert stronger_bound(300, 0.02, 0.95) == "betting"


@pytest.mark.parametrize(("drop", "confidence"), [(0.01, 0.95), (0.02, 0.9), (0.005, 0.99), (0.1, 0.5)])
def test_the_fewest_examples(drop: float, confidence: float) -> None:
    """With so many, and none harmed, something is shown; with one less it is not."""
    size = fewest_examples(drop, confidence)
    assert binomial_p_values(np.zeros((1, size), int), drop)[0] <= 1 - confidence
    assert binomial_p_values(np.zeros((1, size - 1), int), drop)[0] > 1 - confidence
    assert betting_p_values(np.zeros((1, size - 1), int), drop, confidence)[0] > 1 - confidence
    check_examples(size, drop, confidence)
    with pytest.raises(DataError, match=f"takes {size} at least"):
        check_examples(size - 1, drop, confidence)


def test_betting_may_show_it_with_fewer() -> None:
    """100 examples, 8 of them made right and none wrong: betting has won enough, binomial cannot have."""
    losses = np.zeros((1, 100), dtype=int)
    losses[0, 3:100:13] = -1
    assert (losses == -1).sum() == 8
    assert betting_p_values(losses, 0.01, 0.95)[0] <= 0.05 < binomial_p_values(losses, 0.01)[0]
    check_examples(100, 0.01, 0.95, "betting")
    for bound in ("auto", "binomial"):
        with pytest.raises(DataError, match="takes 299 at least"):
            check_examples(100, 0.01, 0.95, bound)
