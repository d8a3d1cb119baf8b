"""prunekit's models, known to the auto classes of transformers without importing them first.

The auto classes and the loading methods of transformers are imported when somebody first uses them, which
takes seconds. What is registered there is registered then, and not at ``import prunekit``: as soon as the
outermost import of a module of transformers or prunekit has ended, and a module that reads folders is there.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

# Modules of transformers that read folders: with each of them comes all that registration needs.
_READERS = (
    "transformers.modeling_utils",
    "transformers.models.auto.auto_factory",
    "transformers.models.auto.configuration_auto",
)
# Half of a module cannot be imported from: registering waits for the end of any import of these.
_WATCHED = ("transformers.", "prunekit.")
# Modules of prunekit that register something.
_REGISTERING = ("exits", "loading", "slim")


class _Watch(MetaPathFinder):
    """Finds modules as the usual finder does, and has a look after each of these was imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith(_WATCHED):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            loader = spec.loader
            run = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                del loader.exec_module  # type: ignore[method-assign]
                run(module)
                _register_when_ready(name)

            loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


_watch = _Watch()


def register_when_needed() -> None:
    """Register now, if transformers' readers were imported, or else as soon as they are."""
    sys.meta_path.insert(0, _watch)
    _register_when_ready("")


def _register_when_ready(just_run: str) -> None:
    """Register unless nothing reads folders yet, or an import of what is watched is still under way."""
    if _watch not in sys.meta_path or not any(name in sys.modules for name in _READERS):
        return
    for name, module in list(sys.modules.items()):
        if name.startswith(_WATCHED) and name != just_run:
            spec = getattr(module, "__spec__", None)
            if getattr(spec, "_initializing", False):
                return
    try:
        sys.meta_path.remove(_watch)
    except ValueError:  # another thread was first
        return
    for name in _REGISTERING:
        importlib.import_module(f".{name}", __package__)
