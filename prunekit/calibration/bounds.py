"""How sure it is that a policy loses little: p-values of "it loses at least so much".

The loss of an example is 1 where leaving early made a right answer wrong, -1 where it made a wrong answer
right, else 0; its mean is the drop of accuracy against all layers. A p-value here belongs to the hypothesis
that the mean loss of all examples there are is ``max_drop`` or more: where that is true, the p-value is below
d in at most the share d of all samples, whatever the distribution, for any number of examples.

Which of the two is stronger depends on how many losses of ``max_drop`` the sample could hold,
``n * max_drop``, and on how often leaving early helps. Share of 2,000 simulated samples in which each shows,
at 95 %, that less than 1 % is lost:

===========  ===========  =====  ========  =======
harmed (1)   helped (-1)      n  binomial  betting
===========  ===========  =====  ========  =======
0            0              300      1.00     0.00
0.1 %        0              500      0.91     0.67
0.2 %        0.1 %         1000      0.95     0.92
0.5 %        0.5 %          500      0.29     0.40
0.5 %        0.5 %         1000      0.44     0.72
0.5 %        0.8 %         2000      0.79     0.99
1 %          1.5 %         1000      0.02     0.76
2 %          3 %           2000      0.00     0.97
===========  ===========  =====  ========  =======

So betting, which sees that what helps makes up for what harms, is the stronger one but for small samples,
where it cannot have won enough yet.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from .shares import points_words, share_words

Bound = Literal["binomial", "betting"]
Values = npt.NDArray[np.float64]
Losses = npt.NDArray[np.integer[Any]]

# Largest part of its capital that the bettor may lose on one example. Waudby-Smith and Ramdas advise 1/2 or
# 3/4; from 300 to 2,000 examples and drops of 1 and 2 % the second chose the faster policies on real data.
_STAKE = 0.75


def binomial_p_values(losses: Losses, max_drop: float) -> Values:
    """From the number of harmed examples alone: P(Binomial(n, max_drop) <= number harmed), ``[P]``.

    Exact for the harm max(loss, 0), which is 0 or 1 and never below the loss; the tail is the p-value of a
    loss of two values in "Learn then Test". What leaving early helps does not count, which makes it careful.

    Args:
        losses: -1, 0 or 1 for every policy and example, ``[P, N]``.
        max_drop: above 0 and below 1.
    """
    examples = losses.shape[1]
    harmed = (losses > 0).sum(axis=1)
    tail = np.cumsum([_binomial(examples, k, max_drop) for k in range(int(harmed.max()) + 1)])
    values: Values = np.minimum(tail[harmed], 1.0)
    return values


def betting_p_values(losses: Losses, max_drop: float, confidence: float) -> Values:
    """From the capital of one who bets, example by example, that less is lost, ``[P]``.

    With X = (1 + loss)/2 and m = (1 + max_drop)/2 the capital is K_t = prod_{i<=t} (1 + s_i (m - X_i)). Where
    the mean of X is m or more it does not grow on average, so that it ever reaches 1/p with probability p at
    most (Ville): the p-value is 1 / max_t K_t. The stakes see the past alone: s_t = min(sqrt(2 ln(1/d) /
    (n v_{t-1})), c / (1 - m)), v the running variance, 1/4 at first, d = 1 - confidence, c = 3/4
    (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", arXiv 2010.09686:
    the capital of one side, with predictable plug-in stakes for a fixed n).

    Args:
        losses: -1, 0 or 1, ``[P, N]``, in an order that does not depend on them.
        max_drop: above 0 and below 1.
        confidence: for which the stakes are made; the p-value holds for every other as well.
    """
    examples = losses.shape[1]
    x = (1.0 + losses) / 2
    m = (1.0 + max_drop) / 2
    seen = np.arange(1, examples + 1)
    mean = (0.5 + x.cumsum(axis=1)) / (seen + 1)
    variance = (0.25 + ((x - mean) ** 2).cumsum(axis=1)) / (seen + 1)
    before = np.concatenate([np.full((len(x), 1), 0.25), variance[:, :-1]], axis=1)
    stakes = np.minimum(np.sqrt(2 * math.log(1 / (1 - confidence)) / (examples * before)), _STAKE / (1 - m))
    capital = np.log1p(stakes * (m - x)).cumsum(axis=1)
    values: Values = np.exp(-np.maximum(capital.max(axis=1), 0.0))
    return values


def p_values(losses: Losses, max_drop: float, confidence: float, bound: Bound) -> Values:
    """P-values by the bound of that name, ``[P]``."""
    if bound == "binomial":
        return binomial_p_values(losses, max_drop)
    return betting_p_values(losses, max_drop, confidence)


def stronger_bound(examples: int, max_drop: float, confidence: float) -> Bound:
    """The bound to expect more of: betting from ``2 ln(1/d) / max_drop`` examples on (600 at 95 % and 1 %).

    It looks at no loss, so that the choice is free. See the module's table; on predictions of real models
    the two chose policies of equal speed at about this number, and betting the faster ones beyond it.
    """
    return "betting" if examples * max_drop >= -2 * math.log(1 - confidence) else "binomial"


def fewest_examples(max_drop: float, confidence: float) -> int:
    """With fewer binomial shows nothing, even if none is lost: ln(d) / ln(1 - max_drop), rounded up.

    Nor does betting, unless leaving early makes some answers right.
    """
    return math.ceil(math.log(1 - confidence) / math.log1p(-max_drop) - 1e-9)


def examples_needed(
    harmed: int, helped: int, examples: int, max_drop: float, confidence: float, bound: Bound | None = None
) -> int | None:
    """About how many examples would show it, if leaving early harmed and helped as many of them as here.

    Found by trying numbers, each a tenth larger. Luck decides as much, so it has two digits only.

    Args:
        harmed, helped: of ``examples``.
        bound: ``None``: the one to expect more of for each number.

    Returns:
        ``None`` where as much is lost here as may be, or a million would not do.
    """
    size = float(examples)
    while (size := size * 1.1) < 1_000_000:
        number = math.ceil(size)
        losses = np.zeros((1, number), dtype=np.int64)
        lost, won = (round(count * number / examples) for count in (harmed, helped))
        losses[0, :lost], losses[0, lost : lost + won] = 1, -1
        used = bound or stronger_bound(number, max_drop, confidence)
        if (lost if used == "binomial" else lost - won) >= max_drop * number:
            if bound is not None or used == "betting":
                return None
            continue
        order = np.random.default_rng(0).permutation(number)
        if p_values(losses[:, order], max_drop, confidence, used)[0] <= 1 - confidence:
            step = 10 ** max(len(str(number)) - 2, 0)
            return math.ceil(number / step) * step
    return None


def check_examples(
    examples: int, max_drop: float, confidence: float, bound: Bound | Literal["auto"] = "auto"
) -> None:
    """Raise ``DataError`` where there are too few examples to show anything.

    Betting, asked for by name, may show something with any number: it counts what leaving early makes right.
    """
    needed = fewest_examples(max_drop, confidence)
    if examples < needed and bound != "betting":
        many, most = f"{examples} example{'s' * (examples != 1)}", points_words(max_drop)
        raise DataError(
            f"{many} cannot show with {share_words(confidence)} confidence that at most {most} of accuracy "
            f"{'is' if max_drop == 0.01 else 'are'} lost, even where none is: it takes {needed} at least",
            "give more labelled examples, or ask for a larger drop or a lower confidence",
        )


def _binomial(n: int, k: int, p: float) -> float:
    """P(Binomial(n, p) = k), by logarithms, so that no factor overflows."""
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(p) + (n - k) * math.log1p(-p))
