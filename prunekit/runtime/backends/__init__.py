"""What runs graphs: OpenVINO, ONNX Runtime, PyTorch."""

from __future__ import annotations

from pathlib import Path

from ...errors import CheckpointError
from ..manifest import Manifest
from .base import Backend, GraphBackend, Step

__all__ = ["Backend", "GraphBackend", "Step", "open_backend"]


def open_backend(manifest: Manifest, folder: Path, threads: int | None = None) -> Backend:
    """What runs the graphs of an export.

    Args:
        manifest: of the folder.
        folder: where its files are.
        threads: of the processor; ``None``: as many as it has cores.

    Raises:
        CheckpointError: its package is not installed.
    """
    files = [folder / name for name in [*manifest.graphs, *filter(None, [manifest.contexts])]]
    kind: type[GraphBackend]
    try:
        if manifest.backend == "openvino":
            from .openvino import OpenVINOBackend as kind
        elif manifest.backend == "onnx":
            from .onnxruntime import ONNXRuntimeBackend as kind
        else:
            raise CheckpointError(f"{folder} is for {manifest.backend!r}, which this prunekit does not know")
    except ImportError as error:
        raise CheckpointError(
            f"the package for {manifest.backend} is not installed: {error}",
            f"pip install 'prunekit[{manifest.backend}]'",
        ) from error
    return kind(files, manifest.contexts is not None, manifest.precision, threads)  # type: ignore[call-arg]
