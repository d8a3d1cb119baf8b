"""Structured pruning and early exits for transformers.

>>> import prunekit
>>> pruner = prunekit.Pruner(model, ["heads", "neurons"], scorer="taylor",
...                          budget={"name": "ratio", "keep": 0.5})     # doctest: +SKIP
>>> pruner.score(batches, loss=loss)                                    # doctest: +SKIP
>>> pruner.step()                                                       # doctest: +SKIP
>>> prunekit.save(model, "slim-model")                                  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import PrunekitError
from .lazy import attributes
from .registration import register_when_needed

if TYPE_CHECKING:
    from .architectures import Architecture
    from .budgets import Budget
    from .callback import PruningCallback
    from .checkpoints import load, save
    from .exits import ExitPolicy, MultiExitForSequenceClassification, gradient_equilibrium
    from .granularities import Granularity
    from .groups import Gate, Group, Slice
    from .pruner import Pruner
    from .reports import count
    from .schedulers import Scheduler
    from .scorers import Scorer

__version__ = "0.1.0"

_PUBLIC = {
    "Architecture": "architectures",
    "Budget": "budgets",
    "ExitPolicy": "exits",
    "Gate": "groups",
    "Granularity": "granularities",
    "Group": "groups",
    "MultiExitForSequenceClassification": "exits",
    "Pruner": "pruner",
    "PruningCallback": "callback",
    "Scheduler": "schedulers",
    "Scorer": "scorers",
    "Slice": "groups",
    "count": "reports",
    "gradient_equilibrium": "exits",
    "load": "checkpoints",
    "save": "checkpoints",
}


__getattr__ = attributes(__name__, _PUBLIC)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])


register_when_needed()

__all__ = [
    "Architecture",
    "Budget",
    "ExitPolicy",
    "Gate",
    "Granularity",
    "Group",
    "MultiExitForSequenceClassification",
    "PrunekitError",
    "Pruner",
    "PruningCallback",
    "Scheduler",
    "Scorer",
    "Slice",
    "__version__",
    "count",
    "gradient_equilibrium",
    "load",
    "save",
]
