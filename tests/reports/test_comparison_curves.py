"""Staircase, area, frontier and order of curves against plain loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunekit.reports.comparison.curves import area, on_frontier, staircase, where_below, where_line_below

# Few distinct values, so that ties come up.
points = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=9)


def arrays(chosen, free=(0, 3, 3)):
    """Costs, scores, what is picked by: the free policy first."""
    return tuple(np.array(column, dtype=float) for column in zip(free, *chosen, strict=True))


def plain_pick(budget, costs, scores, by):
    """The score of the policy within the budget that looks best; of equals the cheapest, then the first."""
    best = None
    for c, s, v in sorted(zip(costs, scores, by, strict=True), key=lambda p: p[0]):
        if c <= budget and (best is None or v > best[0]):
            best = (v, s)
    return np.nan if best is None else best[1]


@given(points)
def test_staircase_is_the_plain_loop(chosen):
    costs, scores, by = arrays(chosen)
    budgets = np.arange(0, 14, 0.5)
    expected = [plain_pick(b, costs, scores, by) for b in budgets]
    np.testing.assert_array_equal(staircase(budgets, costs, scores, by), expected)


@given(points)
def test_picked_by_its_own_scores_it_is_the_best_within_the_budget(chosen):
    costs, scores, _ = arrays(chosen)
    budgets = np.arange(0, 14, 0.5)
    got = staircase(budgets, costs, scores, scores)
    assert got.tolist() == [max(s for c, s in zip(costs, scores, strict=True) if c <= b) for b in budgets]
    assert (np.diff(got) >= 0).all()


def test_below_the_cheapest_policy_there_is_no_score():
    got = staircase(np.array([1.0, 2.0, 9.0]), np.array([2.0]), np.array([0.7]), np.array([0.7]))
    assert np.isnan(got[0]) and got[1:].tolist() == [0.7, 0.7]


@given(points, st.integers(1, 15))
def test_area_is_the_integral(chosen, budget):
    costs, scores, by = arrays(chosen)
    # Steps lie on whole numbers, so that the middles of fine cells integrate exactly.
    cells = (np.arange(budget * 2) + 0.5) / 2
    expected = np.mean([plain_pick(b, costs, scores, by) for b in cells])
    assert area(costs, scores, by, float(budget)) == pytest.approx(expected)


def test_area_by_hand():
    # 0.5 for nothing, 0.8 from 2 on, 0.9 from 6 on; up to 10: (2*0.5 + 4*0.8 + 4*0.9) / 10.
    costs, scores = np.array([6.0, 0.0, 2.0]), np.array([0.9, 0.5, 0.8])
    assert area(costs, scores, scores, 10.0) == pytest.approx(0.78)
    # A policy that looks worse on the held-out examples is never picked, however good it is.
    assert area(costs, scores, np.array([0.1, 0.5, 0.8]), 10.0) == pytest.approx(0.74)
    # One that costs more than the budget does not count.
    assert area(costs, scores, scores, 5.0) == pytest.approx((2 * 0.5 + 3 * 0.8) / 5)


def test_area_keeps_leading_dimensions():
    random = np.random.default_rng(0)
    costs, scores, by = random.random((3, 4, 5, 6))
    costs[..., 2] = 0
    together = area(costs, scores, by, 0.7)
    assert together.shape == (4, 5)
    for place in np.ndindex(4, 5):
        assert together[place] == pytest.approx(area(costs[place], scores[place], by[place], 0.7))


@given(points, st.data())
def test_area_grows_with_every_score(chosen, data):
    costs, scores, by = arrays(chosen)
    which, more = data.draw(st.integers(0, len(costs) - 1)), data.draw(st.integers(0, 5))
    better = scores.copy()
    better[which] += more
    assert area(costs, better, by, 12.0) >= area(costs, scores, by, 12.0)
    assert area(costs, better, better, 12.0) >= area(costs, scores, scores, 12.0)


@given(points, st.data())
def test_dominated_policies_change_nothing(chosen, data):
    costs, scores, by = arrays(chosen)
    which = data.draw(st.integers(0, len(costs) - 1))
    cost = costs[which] + data.draw(st.integers(1, 4))
    added = [
        np.append(a, v) for a, v in ((costs, cost), (scores, scores[which] - data.draw(st.integers(0, 3))))
    ]
    more = np.append(by, by[which] - data.draw(st.integers(0, 3)))
    assert area(*added, more, 12.0) == pytest.approx(area(costs, scores, by, 12.0))
    assert area(*added, added[1], 12.0) == pytest.approx(area(costs, scores, scores, 12.0))


def test_area_asks_for_the_constant_answer():
    one = np.array([1.0])
    with pytest.raises(ValueError, match="constant answer is missing"):
        area(one, one, one, 2.0)
    with pytest.raises(ValueError, match="not above 0"):
        area(0 * one, one, one, 0.0)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=30))
def test_frontier_is_who_nobody_dominates(chosen):
    costs, scores = (np.array(column, dtype=float) for column in zip(*chosen, strict=True))
    expected = [not any(c <= a and s >= b and (c < a or s > b) for c, s in chosen) for a, b in chosen]
    assert on_frontier(costs, scores).tolist() == expected


@given(st.lists(points, min_size=1, max_size=3), st.lists(points, min_size=1, max_size=3))
def test_where_a_curve_lies_below(first, second):
    budget = 10.0
    first, second = [arrays(seed) for seed in first], [arrays(seed) for seed in second]
    below, share = where_below(first, second, budget)

    def mean(seeds, at):
        return np.mean([plain_pick(at, *seed) for seed in seeds])

    cheapest = min(cost for costs, _, _ in (*first, *second) for cost in costs if cost > 0)
    start = min(cheapest, budget)
    cells = [c for c in (np.arange(20) + 0.5) / 2 if c >= start]
    inside = [any(a <= c < b for a, b in below) for c in cells]
    assert inside == [mean(first, c) < mean(second, c) - 1e-12 for c in cells]
    if cells:
        above = np.mean([mean(first, c) > mean(second, c) + 1e-12 for c in cells])
        assert share == pytest.approx(above)
    # The budget itself counts: there all layers of the dearest system may be used.
    if mean(first, budget) < mean(second, budget) - 1e-12:
        assert below and below[-1][1] == budget
    else:
        assert [budget, budget] not in below
    assert all(a < b or a == b == budget for a, b in below)
    assert all(b < c for (_, b), (c, _) in itertools.pairwise(below))


lines = st.dictionaries(st.integers(1, 12), st.integers(0, 8), min_size=2, max_size=7)


def on_line(line, at):
    """The line through the points, by its two-point form."""
    known = sorted(line)
    left = max(c for c in known if c <= at)
    right = min(c for c in known if c >= at)
    if left == right:
        return float(line[left])
    return line[left] + (line[right] - line[left]) * (at - left) / (right - left)


@given(lines, lines, st.integers(1, 14))
def test_where_a_line_through_points_lies_below(first, second, budget):
    arrays = [
        (np.array(list(line), dtype=float), np.array(list(line.values()), dtype=float))
        for line in (first, second)
    ]
    found = where_line_below(*arrays, budget)
    start, end = max(min(first), min(second)), min(max(first), max(second), budget)
    if start >= end:
        assert found is None
        return
    below, share = found
    assert all(start <= a < b <= end for a, b in below)
    assert all(b < c for (_, b), (c, _) in itertools.pairwise(below))
    at = start + (np.arange(700) + 0.5) / 700 * (end - start)
    ahead = np.array([on_line(first, x) - on_line(second, x) for x in at])
    clear = np.abs(ahead) > 1e-9
    inside = np.array([any(a <= x < b for a, b in below) for x in at])
    assert (inside == (ahead < 0))[clear].all()
    # Each of at most 24 turns may be wrong by half a step.
    assert share == pytest.approx((ahead > 1e-9).mean(), abs=24 / 700)
    assert where_line_below(arrays[0], arrays[0], budget) in (None, ([], 0.0))


def test_a_line_is_as_long_as_its_policies_reach():
    steep, flat = (np.array([1.0, 3.0]), np.array([0.0, 2.0])), (np.array([0.0, 4.0]), np.array([0.5, 0.5]))
    assert where_line_below(steep, flat, 9.0) == ([[1.0, 1.5]], 0.75)
    assert where_line_below(flat, steep, 9.0) == ([[1.5, 3.0]], 0.25)
    assert where_line_below(steep, flat, 2.0) == ([[1.0, 1.5]], 0.5)
    assert where_line_below(steep, (np.array([2.0]), np.array([0.0])), 9.0) is None
    assert where_line_below(steep, (np.array([3.0, 4.0]), np.array([0.0, 1.0])), 9.0) is None
    # Two policies of one cost: their mean, which is level with the other line.
    same = (np.array([0.0, 0.0, 4.0]), np.array([0.0, 1.0, 0.5]))
    assert where_line_below(same, flat, 9.0) == ([], 0.0)
