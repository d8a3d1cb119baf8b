"""A model with exits, cut at its exits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..architectures import Context, architecture_of
from ..architectures.structure import tensors_of
from ..exits import MultiExitForSequenceClassification


class Segments(nn.Module):
    """The embedding, and one segment for each exit: its layers and its head.

    Attributes:
        parts: of each segment, the numbers of its layers, from 1.
        model: the whole.
    """

    def __init__(self, model: MultiExitForSequenceClassification) -> None:
        super().__init__()
        self.model = model
        numbers = [0, *model.config.exit_layers]
        self.parts = [list(range(a + 1, b + 1)) for a, b in pairwise(numbers)]
        self._architecture = architecture_of(model.backbone)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights."""
        return self.model.dtype

    def embed(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, list[Context]]:
        """What the first layer reads ``[B, T, H]``, and what every layer takes beside it."""
        return self._architecture.embed(self.model.backbone, inputs)

    def contexts(self, mask: Tensor) -> list[Context]:
        """What every layer takes beside the hidden states: it depends on the mask ``[B, T]`` alone."""
        return self.embed({"input_ids": torch.zeros_like(mask), "attention_mask": mask})[1]

    def run(
        self, number: int, hidden: Tensor, mask: Tensor, contexts: list[Context]
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """One segment, from 0.

        Hidden states ``[B, T, H]`` -> those after it, logits ``[B, C]``, certainty ``[B]``.
        """
        layers = self._architecture.layers(self.model.backbone)
        for layer in self.parts[number]:
            hidden = self._architecture.run_layer(layers[layer - 1], hidden, contexts[layer - 1])
        logits, read = self.model.exits[number](self.model.finished(hidden), mask)
        certainty = None if self.model.certainty is None else self.model.certainty(read)
        return hidden, logits, certainty


class Contexts:
    """What layers take beside the hidden states, as a list of tensors and back.

    Args:
        contexts: of every layer; tensors that several share are one.
    """

    def __init__(self, contexts: Sequence[Context]) -> None:
        self._template = list(contexts)
        self.tensors = unique(contexts)
        self._places = {id(tensor): place for place, tensor in enumerate(self.tensors)}

    def used(self, layers: Sequence[int]) -> list[int]:
        """Places of the tensors that layers take, by the numbers of the layers from 1."""
        own = unique([self._template[layer - 1] for layer in layers])
        return sorted(self._places[id(tensor)] for tensor in own)

    def filled(self, tensors: Mapping[int, Tensor]) -> list[Context]:
        """The same with other tensors in their places; those that are not given stay."""

        def fill(value: Any) -> Any:
            if isinstance(value, Tensor):
                return tensors.get(self._places[id(value)], value)
            if isinstance(value, Mapping):
                return {key: fill(item) for key, item in value.items()}
            if isinstance(value, (tuple, list)):
                return type(value)(fill(item) for item in value)
            return value

        return [fill(context) for context in self._template]


def unique(value: Any) -> list[Tensor]:
    """The tensors in something nested, each once."""
    found: dict[int, Tensor] = {id(tensor): tensor for tensor in tensors_of(value)}
    return list(found.values())


class Graph(nn.Module):
    """One segment, or the contexts alone, as a graph: tensors in, tensors out.

    Args:
        segments: of the model.
        number: of the segment, from 0; -1 for the graph that makes contexts of a mask.
        example: contexts to trace with.
        inputs: names of the model's inputs.

    Attributes:
        inputs, outputs: names. ``context_0``, ... are what layers take beside the hidden states: the first
            graph and that of the contexts give all of them, every other takes those of its layers.
    """

    def __init__(self, segments: Segments, number: int, example: Contexts, inputs: Sequence[str]) -> None:
        super().__init__()
        self.segments, self.number, self._example = segments, number, example
        every = [f"context_{place}" for place in range(len(example.tensors))]
        last = number == len(segments.parts) - 1
        sure = segments.model.certainty is not None
        given = (("hidden_out", not last), ("logits", True), ("certainty", sure))
        answers = [] if number < 0 else [name for name, there in given if there]
        self.inputs: tuple[str, ...]
        if number < 0:
            self.inputs = ("attention_mask",)
        elif number == 0:
            self.inputs = tuple(inputs)
        else:
            self._used = example.used(segments.parts[number])
            self.inputs = ("hidden", "attention_mask", *(every[place] for place in self._used))
        self.outputs = (*answers, *([] if number > 0 or last else every))

    def forward(self, *given: Tensor) -> tuple[Any, ...]:
        named = dict(zip(self.inputs, given, strict=True))
        mask = named["attention_mask"]
        if self.number < 0:
            return tuple(unique(self.segments.contexts(mask)))
        if self.number == 0:
            hidden, contexts = self.segments.embed(named)
        else:
            hidden = named["hidden"]
            contexts = self._example.filled(dict(zip(self._used, given[2:], strict=True)))
        hidden, logits, certainty = self.segments.run(self.number, hidden, mask, contexts)
        values = {"hidden_out": hidden, "logits": logits, "certainty": certainty}
        values |= {f"context_{place}": tensor for place, tensor in enumerate(unique(contexts))}
        return tuple(values[name] for name in self.outputs)
