"""What a finished model runs on elsewhere."""

from __future__ import annotations

from .export import export_onnx

__all__ = ["export_onnx"]
