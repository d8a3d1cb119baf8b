"""What a finished model runs on: an engine over PyTorch, OpenVINO and ONNX Runtime, and exports for them.

Nothing here imports PyTorch before it is needed: an exported folder is run without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .batching import Answer
    from .engine import Engine
    from .exporting import export
    from .graphs import export_onnx
    from .opening import load

_PUBLIC = {
    "Answer": "batching",
    "Engine": "engine",
    "export": "exporting",
    "export_onnx": "graphs",
    "load": "opening",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Kept, or a module of the same name would take its place when it is imported.
    found = getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
    globals()[name] = found
    return found


__all__ = ["Answer", "Engine", "export", "export_onnx", "load"]
