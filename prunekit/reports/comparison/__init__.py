"""Several systems set against each other: over tasks and seeds, with what is chance and what is not.

The dataclasses are here; ``compare``, the tables and the pictures are taken from :mod:`prunekit.reports`.
"""

from .schema import (
    ComparedSystem,
    ComparedTask,
    Comparison,
    Curve,
    CurveOrder,
    Difference,
    PolicyPoint,
    Spread,
    TaskRow,
)

__all__ = [
    "ComparedSystem",
    "ComparedTask",
    "Comparison",
    "Curve",
    "CurveOrder",
    "Difference",
    "PolicyPoint",
    "Spread",
    "TaskRow",
]
