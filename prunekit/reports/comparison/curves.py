"""Score against budget: the staircase a system gives, the area under it, the frontier of many.

A system is a set of policies p, each with a mean cost c_p and a score s_p. One of them is to give all the
class that is most frequent on held-out examples, which costs nothing. Whoever may spend b on an example uses
the policy that looks best among those he can pay:

    pick(b) = argmax over {p : c_p <= b} of v_p,        S(b) = s_pick(b)

with v_p the score on held-out (validation) examples: what is picked has not seen the reported examples, so a
sweep of fifty thresholds gains nothing by its many tries against a model that has one. (With v = s it is the
usual "best score for at most this budget".) Costs need no labels, so those of the reported examples serve.

The area is the mean of S over all budgets from 0 to B, the largest cost of all layers among the systems:

    area = 1/B * integral over b from 0 to B of S(b) db

So it is a score: what somebody gets who may spend a budget drawn evenly from 0 to B. It rewards a system for
answering well when little may be spent and for going on improving, does not depend on how many thresholds a
sweep tried where, and a single-exit model has one as well (two steps). The constant answer belongs to every
system, or one would be worse off for having an early exit that is no better than chance.

The paper's Figure 3 draws the sweep itself: every threshold's cost and score on the reported examples, the
points joined by straight lines. Nothing is picked, so it holds no chance of the held-out examples, and who
wants a cost between two thresholds gets the line by drawing one of the two for every example.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]


def staircase(budgets: Array, costs: Array, scores: Array, by: Array) -> Array:
    """S at each budget, ``[..., B]``; NaN below the cheapest policy.

    Args:
        budgets: any numbers ``[B]``.
        costs, scores: of the policies ``[..., P]``; leading dimensions are kept.
        by: what policies are picked by ``[..., P]``, the largest; of equals the cheapest.
    """
    costs, scores = _picked(costs, scores, by)
    position = (costs[..., None, :] <= np.asarray(budgets)[:, None]).sum(axis=-1) - 1
    values = np.take_along_axis(scores, np.maximum(position, 0), axis=-1)
    return np.where(position < 0, np.nan, values)


def area(costs: Array, scores: Array, by: Array, budget: float) -> Array:
    """Mean of S over the budgets from 0 to ``budget``: ``[...]`` for policies ``[..., P]``, one of them free.

    Raises:
        ValueError: the budget is not above 0, or no policy is free, so that S has no value at 0.
    """
    if not budget > 0:
        raise ValueError(f"budget {budget} is not above 0")
    costs, scores = _picked(costs, scores, by)
    if costs[..., 0].any():
        raise ValueError("the cheapest policy costs something; the constant answer is missing")
    costs = np.minimum(costs, budget)
    end = np.full((*costs.shape[:-1], 1), budget)
    widths = np.diff(np.concatenate([costs, end], axis=-1), axis=-1)
    total: Array = (widths * scores).sum(axis=-1)
    return total / budget


def _picked(costs: Array, scores: Array, by: Array) -> tuple[Array, Array]:
    """Costs ascending, and for each the score of the policy picked within that cost."""
    order = np.argsort(costs, axis=-1, kind="stable")
    costs, scores, by = (
        np.take_along_axis(np.broadcast_to(a, order.shape), order, axis=-1) for a in (costs, scores, by)
    )
    best = np.maximum.accumulate(by, axis=-1)
    improves = np.ones(by.shape, dtype=bool)
    improves[..., 1:] = by[..., 1:] > best[..., :-1]
    pick = np.maximum.accumulate(np.where(improves, np.arange(by.shape[-1]), 0), axis=-1)
    return costs, np.take_along_axis(scores, pick, axis=-1)


def on_frontier(costs: Array, scores: Array) -> npt.NDArray[np.bool_]:
    """Who is not dominated, ``[P]``.

    Dominated is a point where another costs no more and scores no less, and is better in one of the two.
    """
    kept = np.zeros(len(costs), dtype=bool)
    best, at = -np.inf, np.nan
    for i in np.lexsort((-np.asarray(scores), costs)):
        if scores[i] > best or (scores[i] == best and costs[i] == at):
            kept[i] = True
            best, at = scores[i], costs[i]
    return kept


TINY = 1e-12  # means of the same scores in another order are not a difference
Sweep = tuple[Array, Array, Array]  # costs, scores, and what policies are picked by, [P] each


def where_below(first: list[Sweep], second: list[Sweep], budget: float) -> tuple[list[list[float]], float]:
    """Ranges of budgets in which the first's mean curve is strictly below the second's, and the share above.

    Compared are all budgets from the cheapest paid policy of either to ``budget``; both curves are steps, so
    looking at every step is looking everywhere.

    Args:
        first, second: the sweep of each seed, the free policy included.

    Returns:
        Ranges ``[from, to]``, and the share of the budgets (by width) where the first is strictly above.
    """
    steps = np.unique(np.concatenate([costs for costs, _, _ in (*first, *second)]))
    steps = np.unique([*steps[(steps > 0) & (steps < budget)], budget])
    curves = [np.mean([staircase(steps, *sweep) for sweep in seeds], axis=0) for seeds in (first, second)]
    ahead = curves[0] - curves[1]
    ends = np.append(steps, budget)
    widths = np.diff(ends)
    share = float(widths[ahead > TINY].sum() / widths.sum()) if widths.sum() else float(ahead[0] > TINY)
    return _ranges(ends, ahead < -TINY), share


Line = tuple[Array, Array]  # costs and scores of the points that are joined, [P] each


def where_line_below(first: Line, second: Line, budget: float) -> tuple[list[list[float]], float] | None:
    """:func:`where_below` of two sweeps' points, joined by straight lines.

    Compared are the costs that both lines span, up to ``budget``; none where there is no such range, as with
    a system of one policy. Of points with one cost the mean counts.

    Args:
        first, second: mean over the seeds of what each policy costs and scores.

    Returns:
        Ranges of costs where the first's line is strictly below, and the share where it is strictly above.
    """
    lines = [_merged(*line) for line in (first, second)]
    start, end = max(costs[0] for costs, _ in lines), min(budget, *(costs[-1] for costs, _ in lines))
    if start >= end:
        return None
    corners = np.unique([start, end, *(c for costs, _ in lines for c in costs if start < c < end)])
    ahead = np.subtract(*(np.interp(corners, costs, scores) for costs, scores in lines))
    ahead[np.abs(ahead) < TINY] = 0
    # Between two corners the difference is a straight line too, and crosses 0 at most once.
    turns = [
        a + (b - a) * x / (x - y)
        for a, b, x, y in zip(corners, corners[1:], ahead, ahead[1:], strict=False)
        if x * y < 0
    ]
    knots = np.unique([*corners, *turns])
    middle = np.interp((knots[:-1] + knots[1:]) / 2, corners, ahead)
    return _ranges(knots, middle < 0), float(np.diff(knots)[middle > 0].sum() / (end - start))


def _merged(costs: Array, scores: Array) -> Line:
    """Costs ascending, each once."""
    known, which = np.unique(costs, return_inverse=True)
    return known, np.bincount(which, scores) / np.bincount(which)


def _ranges(ends: Array, inside: npt.NDArray[np.bool_]) -> list[list[float]]:
    """The cells ``[ends[i], ends[i + 1]]`` that are inside, neighbours as one range."""
    found: list[list[float]] = []
    for start, end, chosen in zip(ends.tolist(), ends[1:].tolist(), inside, strict=False):
        if chosen and found and found[-1][1] == start:
            found[-1][1] = end
        elif chosen:
            found.append([start, end])
    return found
