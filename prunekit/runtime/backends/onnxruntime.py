"""ONNX Runtime on the processor."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from .base import GraphBackend


class ONNXRuntimeBackend(GraphBackend):
    """Graphs from ONNX files.

    The threads of a session do not spin while they wait: those of many sessions would take the processor from
    one another.

    Args:
        files: one a graph, and last that of the contexts, if there is one.
        contexts: whether there is.
        precision: of the files, for the description.
        threads: of the processor; ``None``: as many as it has cores.
    """

    name = "onnx"

    def __init__(
        self, files: Sequence[Path], contexts: bool, precision: str = "float32", threads: int | None = None
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self.graphs = len(files) - contexts
        self.contexts = self.graphs if contexts else None
        self._sessions = [
            onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
            for file in files
        ]
        self._names = [
            ([i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()])
            for session in self._sessions
        ]
        self.description = (
            f"ONNX Runtime {onnxruntime.__version__}, {precision}, {options.intra_op_num_threads} threads"
        )

    def names(self, number: int) -> tuple[Sequence[str], Sequence[str]]:
        return self._names[number]

    def call(self, number: int, given: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        outputs = self._names[number][1]
        return dict(zip(outputs, self._sessions[number].run(outputs, dict(given)), strict=True))
