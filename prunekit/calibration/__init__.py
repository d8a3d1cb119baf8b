"""Exit policies chosen with a guarantee: how much leaving early may lose, and how sure that is."""

from .bounds import (
    Bound,
    betting_p_values,
    binomial_p_values,
    check_examples,
    fewest_examples,
    stronger_bound,
)
from .choosing import Calibration, Tried, calibrate, choose, harms, sweep_of
from .guarantee import Guarantee, guarantee_of, policy_words, store, told
from .shares import Share, points_words, read_share, share_words

__all__ = [
    "Bound",
    "Calibration",
    "Guarantee",
    "Share",
    "Tried",
    "betting_p_values",
    "binomial_p_values",
    "calibrate",
    "check_examples",
    "choose",
    "fewest_examples",
    "guarantee_of",
    "harms",
    "points_words",
    "policy_words",
    "read_share",
    "share_words",
    "store",
    "stronger_bound",
    "sweep_of",
    "told",
]
