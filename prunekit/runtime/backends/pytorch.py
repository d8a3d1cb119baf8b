"""PyTorch, on whatever device the model is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..segments import Segments
from .base import Backend, Step


class PyTorchBackend(Backend):
    """The model itself, a segment at a time.

    Args:
        segments: of the model.
    """

    name = "torch"

    def __init__(self, segments: Segments) -> None:
        self._segments = segments.eval()
        self.graphs = len(segments.parts)
        self._device = segments.device
        self.description = (
            f"PyTorch {torch.__version__}, eager, {str(segments.dtype).removeprefix('torch.')}, "
            f"{self._device}, {torch.get_num_threads()} threads"
        )

    @torch.inference_mode()
    def first(self, inputs: Mapping[str, NDArray[np.int64]], notes: dict[str, Any]) -> Step:
        tensors = {name: torch.from_numpy(values).to(self._device) for name, values in inputs.items()}
        hidden, notes["contexts"] = self._segments.embed(tensors)
        notes["mask"] = tensors["attention_mask"]
        return self._step(0, hidden, notes)

    @torch.inference_mode()
    def following(self, number: int, hidden: Any, mask: NDArray[np.int64], notes: dict[str, Any]) -> Step:
        if "contexts" not in notes:
            notes["mask"] = torch.from_numpy(np.ascontiguousarray(mask)).to(self._device)
            notes["contexts"] = self._segments.contexts(notes["mask"])
        return self._step(number, hidden, notes)

    def _step(self, number: int, hidden: Tensor, notes: dict[str, Any]) -> Step:
        hidden, logits, certainty = self._segments.run(number, hidden, notes["mask"], notes["contexts"])
        sure = None if certainty is None else certainty.float().cpu().numpy()
        return Step(hidden, logits.float().cpu().numpy(), sure)

    @torch.inference_mode()
    def gather(self, parts: Sequence[tuple[Any, NDArray[np.intp]]], tokens: int) -> Any:
        first = parts[0][0]
        made = first.new_zeros(sum(len(rows) for _, rows in parts), tokens, first.shape[2])
        start = 0
        for hidden, rows in parts:
            width = min(tokens, hidden.shape[1])
            index = torch.from_numpy(rows).to(self._device)
            made[start : start + len(rows), :width] = hidden[:, :width].index_select(0, index)
            start += len(rows)
        return made

    def kept(self, hidden: Any) -> Any:
        return hidden  # every run makes a tensor of its own
