"""What a finished model runs on: an engine over PyTorch, OpenVINO and ONNX Runtime, and exports for them.

Nothing here imports PyTorch before it is needed: an exported folder is run without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import attributes

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


__getattr__ = attributes(__name__, _PUBLIC)

__all__ = ["Answer", "Engine", "export", "export_onnx", "load"]
