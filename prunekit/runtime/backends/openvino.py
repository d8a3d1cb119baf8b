"""OpenVINO on the processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from .base import GraphBackend

_PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16", "int8": "f32"}


class OpenVINOBackend(GraphBackend):
    """Graphs from files that OpenVINO reads: its own (``.xml``) or ONNX.

    Args:
        files: one a graph, and last that of the contexts, if there is one.
        contexts: whether there is.
        precision: of what is computed; weights may be stored in less.
        threads: of the processor; ``None``: as many as it has cores.
    """

    name = "openvino"

    def __init__(
        self, files: Sequence[Path], contexts: bool, precision: str = "float32", threads: int | None = None
    ) -> None:
        core = openvino.Core()
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
        }
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        models = [core.read_model(str(file)) for file in files]
        compiled = [core.compile_model(model, "CPU", settings) for model in models]
        self.graphs = len(files) - contexts
        self.contexts = self.graphs if contexts else None
        self._requests = [model.create_infer_request() for model in compiled]
        # Compiling may give ports other names; their order stays.
        self._names = [
            ([i.get_any_name() for i in model.inputs], [o.get_any_name() for o in model.outputs])
            for model in models
        ]
        count = compiled[0].get_property("INFERENCE_NUM_THREADS")
        computes = compiled[0].get_property("INFERENCE_PRECISION_HINT").get_type_name()
        version = openvino.get_version().split("-")[0]
        self.description = (
            f"OpenVINO {version}, weights {precision}, computing in {computes}, {count} threads"
        )

    def names(self, number: int) -> tuple[Sequence[str], Sequence[str]]:
        return self._names[number]

    def array(self, value: Any) -> NDArray[Any]:
        found: NDArray[Any] = value.data if isinstance(value, openvino.Tensor) else value
        return found

    def call(self, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
        request = self._requests[number]
        inputs, outputs = self._names[number]
        for place, name in enumerate(inputs):
            value = given[name]
            if not isinstance(value, openvino.Tensor):
                value = openvino.Tensor(np.ascontiguousarray(value), shared_memory=True)
            request.set_input_tensor(place, value)
        request.infer(share_outputs=True)
        return {name: request.get_output_tensor(place) for place, name in enumerate(outputs)}
