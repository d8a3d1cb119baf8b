"""The paired bootstrap against plain loops, and its coverage on data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunekit.data.metrics import METRICS, score
from prunekit.reports.comparison import resampling
from prunekit.reports.comparison.curves import area, staircase
from prunekit.reports.comparison.resampling import (
    Answers,
    example_draws,
    paired_difference,
    resample,
    resampled_scores,
    seed_draws,
)


def made_up(seed, examples=40, policies=5, classes=2, validation=True):
    """Answers of a run whose first policy is the constant answer."""
    random = np.random.default_rng(seed)
    labels = np.random.default_rng(0).integers(0, classes, examples)
    wrong = random.integers(0, classes, (policies, examples))
    predictions = np.where(random.random((policies, examples)) < 0.7, labels, wrong)
    costs = random.integers(1, 5, (policies, examples)) * 1_000_003
    predictions[0], costs[0] = 1, 0
    # Two policies that do the same.
    predictions[-1], costs[-1] = predictions[1], costs[1]
    by = random.integers(0, 3, policies) / 2 if validation else None
    return Answers(labels, predictions, costs, by, predictions[2])


@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("metric", [*METRICS, "other"])
def test_scores_of_resamples_are_scikit_learns(metric, classes, monkeypatch):
    if metric == "f1" and classes == 3:
        pytest.skip("for two classes")
    monkeypatch.setitem(METRICS, "other", lambda true, said: float(np.mean(true * 2 == said + 1)))
    random = np.random.default_rng(1)
    labels = random.integers(0, classes, 12)
    predictions = random.integers(0, classes, (6, 12))
    predictions[0], predictions[1] = 0, labels  # what divides by zero, and what is perfect
    drawn = random.integers(0, 12, (40, 12))
    drawn[0], drawn[1] = 3, np.flatnonzero(labels == 0)[0]  # one example, many times
    counts = np.stack([np.bincount(row, minlength=12) for row in drawn]).astype(np.float32)
    expected = [[score([metric], labels[row], p[row])[metric] for p in predictions] for row in drawn]
    np.testing.assert_allclose(resampled_scores(metric, labels, predictions, counts), expected, atol=1e-6)


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize("metric", ["accuracy", "f1"])
def test_resample_is_the_plain_loop(metric, validation, monkeypatch):
    monkeypatch.setattr(resampling, "_CHUNK", 16)
    answers, budget, budgets = made_up(3, validation=validation), 3e6, np.array([1e5, 2.5e6, 4e6])
    got = resample(answers, metric, budget, 50, 11, budgets)
    drawn = np.concatenate(list(example_draws(len(answers.labels), 50, 11)))
    assert drawn.shape == (50, 40)
    for r, rows in enumerate(drawn):
        said = [score([metric], answers.labels[rows], p[rows])[metric] for p in answers.predictions]
        costs, scores = answers.costs[:, rows].mean(axis=1), np.array(said)
        by = scores if answers.by is None else answers.by
        assert got.chosen[r] == pytest.approx(said[2], abs=1e-6)
        assert got.area[r] == pytest.approx(float(area(costs, scores, by, budget)), abs=1e-6)
        np.testing.assert_allclose(got.curve[r], staircase(budgets, costs, scores, by), atol=1e-6)


def test_the_same_arguments_draw_the_same_and_all_runs_share_them():
    one, other = (resample(made_up(s), "accuracy", 3e6, 30, 5) for s in (3, 3))
    assert one.chosen.tolist() == other.chosen.tolist() and one.curve is None
    assert resample(made_up(3), "accuracy", 3e6, 30, 6).chosen.tolist() != one.chosen.tolist()
    assert seed_draws(3, 10, 0).tolist() == seed_draws(3, 10, 0).tolist()


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(20, 60), st.integers(0, 1000))
def test_paired_difference_is_the_plain_loop(seeds, resamples, number):
    random = np.random.default_rng(number)
    # Halves, so that differences of exactly 0 come up.
    first, second = random.integers(0, 5, (2, resamples, seeds)) / 2
    drawn = seed_draws(seeds, resamples, number)
    each = []
    for r in range(resamples):
        each.append(sum(first[r, s] for s in drawn[r]) / seeds - sum(second[r, s] for s in drawn[r]) / seeds)
    low, high, p = paired_difference(first, second, drawn)
    assert (low, high) == pytest.approx((np.percentile(each, 2.5), np.percentile(each, 97.5)))
    rarer = min(sum(d <= 1e-12 for d in each), sum(d >= -1e-12 for d in each))
    assert p == pytest.approx(min(1.0, 2 * (rarer + 1) / (resamples + 1)))


def test_what_cancels_out_is_no_difference():
    """Right answers that even out over three seeds: exactly 0, though 408ths and thirds are not exact."""
    random = np.random.default_rng(1)
    counts = np.ones((1, 408), dtype=np.float32)
    values: list[list[float]] = []
    for _ in range(300):
        ups = random.integers(-20, 20, 2)
        right = np.array([[300, 300, 300], 300 + np.array([*ups, -ups.sum()])])
        rows = (np.arange(408) < right.ravel()[:, None]).astype(np.int64)
        values.append(resampled_scores("accuracy", np.ones(408, dtype=np.int64), rows, counts)[0].tolist())
    each = np.array(values)
    low, high, p = paired_difference(each[:, :3], each[:, 3:], np.tile([0, 1, 2], (300, 1)))
    assert (low, high, p) == (0.0, 0.0, 1.0)


def test_a_system_does_not_differ_from_itself():
    values = np.random.default_rng(0).random((100, 3))
    assert paired_difference(values, values, seed_draws(3, 100, 0)) == (0.0, 0.0, 1.0)


def simulated(random, examples, seeds, gain, wobble):
    """Correct answers of two systems ``[2, S, N]``.

    Examples have a hardness of their own that both systems and all seeds share, each training moves a system
    by ``wobble``; the second system is ``gain`` worse.
    """
    hardness = random.beta(4, 1.2, examples)
    moved = random.normal(0, wobble, (2, seeds, 1)) - np.array([0, gain])[:, None, None]
    return (random.random((2, seeds, examples)) < np.clip(hardness + moved, 0, 1)).astype(np.int64)


@pytest.mark.parametrize(
    ("seeds", "wobble", "least"), [(1, 0.0, 0.91), (3, 0.01, 0.9), (5, 0.0, 0.93), (5, 0.01, 0.9)]
)
def test_coverage_where_the_truth_is_known(seeds, wobble, least):
    """Of 300 made-up comparisons the 95 % interval misses about one in twenty."""
    random = np.random.default_rng(42)
    examples, gain, trials = 200, 0.05, 300
    # The difference between the two that many examples would show.
    truth = np.diff(simulated(random, 100_000, 20, gain, 0.0).mean(axis=(1, 2)))[0] * -1
    labels, hit = np.ones(examples, dtype=np.int64), 0
    for trial in range(trials):
        right = simulated(random, examples, seeds, gain, wobble)
        counts = np.stack(
            [np.bincount(row, minlength=examples) for d in example_draws(examples, 200, trial) for row in d]
        ).astype(np.float32)
        first, second = (resampled_scores("accuracy", labels, system, counts) for system in right)
        low, high, _ = paired_difference(first, second, seed_draws(seeds, 200, trial))
        hit += low <= truth <= high
    assert least <= hit / trials
