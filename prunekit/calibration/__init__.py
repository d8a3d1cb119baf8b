"""Exit policies chosen with a guarantee: how much leaving early may lose, and how sure that is."""

from .bounds import (
    Bound,
    betting_p_values,
    binomial_p_values,
    check_examples,
    examples_needed,
    fewest_examples,
    stronger_bound,
)
from .choosing import Calibration, Tried, calibrate, choose, harms
from .examples import CHOSE_CHECKPOINTS, UNKNOWN, usable, warn_of_missing_classes
from .guarantee import Guarantee, guarantee_of, store, told
from .shares import (
    Confidence,
    Drop,
    Share,
    points_words,
    read_confidence,
    read_share,
    share_words,
    warn_of_large_drop,
)
from .tries import earlier_tries, read_tries, record, tries_words
from .unsafe import nothing_safe

__all__ = [
    "CHOSE_CHECKPOINTS",
    "UNKNOWN",
    "Bound",
    "Calibration",
    "Confidence",
    "Drop",
    "Guarantee",
    "Share",
    "Tried",
    "betting_p_values",
    "binomial_p_values",
    "calibrate",
    "check_examples",
    "choose",
    "earlier_tries",
    "examples_needed",
    "fewest_examples",
    "guarantee_of",
    "harms",
    "nothing_safe",
    "points_words",
    "read_confidence",
    "read_share",
    "read_tries",
    "record",
    "share_words",
    "store",
    "stronger_bound",
    "told",
    "tries_words",
    "usable",
    "warn_of_large_drop",
    "warn_of_missing_classes",
]
