"""A comparison's findings in words."""

from __future__ import annotations

from ..words import fixed, flops_words, percent_words
from .schema import Comparison, CurveOrder, Difference, Spread


def points_words(value: float) -> str:
    """A difference of scores in points: ``0.0123`` -> ``+1.2``, ``-0.0004`` -> ``0.0``."""
    words = fixed(100 * value, sign="+")
    return "0.0" if float(words) == 0 else words.replace("-", "−")


def difference_words(difference: Difference) -> str:
    """``+1.2 points [+0.3, +2.1], real``, or ``... not told apart``; the interval holds 95 %.

    Of one seed nothing is known of how another training would come out: what its interval tells apart is not
    called real.
    """
    told = "not told apart"
    if difference.real:
        told = "real" if len(difference.seeds) > 1 else "more than the examples' chance"
    interval = f"[{points_words(difference.low)}, {points_words(difference.high)}]"
    return f"{points_words(difference.mean)} points {interval}, {told}"


def order_words(order: CurveOrder, budget: float) -> str:
    """``above at every budget up to 2.54 GFLOPs``, or at which budgets not.

    Args:
        budget: ``ComparedTask.budget``.
    """
    share = f"above at {percent_words(order.above_share)} of the budgets"
    if not order.below:
        limit = flops_words(budget)
        if order.above_share == 0:
            return f"level at every budget up to {limit}"
        return (
            f"above at every budget up to {limit}"
            if order.above_share > 0.9995
            else (f"below at no budget up to {limit}, {share}")
        )
    shown = [_range_words(start, end) for start, end in order.below[:2]]
    left = len(order.below) - len(shown)
    more = [f"{left} more range{'s' if left > 1 else ''}"] if left else []
    return f"{share}; below at {', '.join(shown + more)}"


def _range_words(start: float, end: float) -> str:
    first, last = flops_words(start), flops_words(end)
    if first.split()[-1] == last.split()[-1]:
        first = first.split()[0]
    return last if start == end else f"{first} to {last}"


def order_sentence(comparison: Comparison, task: str, order: CurveOrder) -> str:
    """``On mrpc the curve of COST-EFF lies above at every budget up to 2.54 GFLOPs, set against ...``."""
    budget = next(t.budget for t in comparison.tasks if t.task == task)
    first, second = (comparison.system(name).label for name in (order.first, order.second))
    return f"On {task} the curve of {first}, set against that of {second}, lies {order_words(order, budget)}."


def spread_words(spread: Spread | None) -> str:
    """Scores in points: ``84.3 ± 0.6``; a dash where there is none."""
    if spread is None:
        return "–"
    return fixed(100 * spread.mean) + ("" if spread.std is None else f" ± {fixed(100 * spread.std)}")
