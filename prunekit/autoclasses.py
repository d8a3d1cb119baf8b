"""Make transformers' auto classes know prunekit's models, without importing transformers for it.

``import prunekit`` stays quick (the command line's ``--help`` depends on it): the classes are registered at
once if the auto classes are loaded, else as soon as they are.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_TRIGGER = "transformers.models.auto.modeling_auto"
_CONFIG_TRIGGER = "transformers.models.auto.configuration_auto"


def _register() -> None:
    # A module of prunekit that is being imported registers its own classes at its end.
    for name in ("prunekit.exits", "prunekit.slim"):
        if name not in sys.modules:
            importlib.import_module(name)


class _AfterImport(MetaPathFinder):
    def __init__(self, name: str, action: Any) -> None:
        self.name, self.action = name, action

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_then_act(module: ModuleType) -> None:
            execute(module)
            self.action()

        spec.loader.exec_module = execute_then_act  # type: ignore[method-assign]
        return spec


def register_when_loaded() -> None:
    """Register prunekit's models with the auto classes, now or when they are loaded."""
    if _CONFIG_TRIGGER in sys.modules:
        _register()
        return
    sys.meta_path.insert(0, _AfterImport(_TRIGGER, _register))
    sys.meta_path.insert(0, _AfterImport(_CONFIG_TRIGGER, lambda: importlib.import_module(_TRIGGER)))
