"""What runs a model's graphs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Step(NamedTuple):
    """What one graph gives.

    Attributes:
        hidden: the backend's hidden states ``[B, T, H]``; valid until the same graph runs again; ``None``
            after the last graph.
        logits: float32 ``[B, C]``.
        certainty: float32 ``[B]``, where the model says how sure its exits are.
    """

    hidden: Any
    logits: NDArray[np.float32]
    certainty: NDArray[np.float32] | None


class Backend(ABC):
    """Runs the graphs of one model: the first reads ids, every other the hidden states of the one before.

    Attributes:
        name: as on the command line.
        graphs: how many there are, one for each exit.
        description: the runtime, its version, precision and threads, for reports.
    """

    name: ClassVar[str]
    graphs: int
    description: str

    @abstractmethod
    def first(self, inputs: Mapping[str, NDArray[np.int64]], notes: dict[str, Any]) -> Step:
        """Run the first graph.

        Args:
            inputs: int64 ``[B, T]`` each.
            notes: empty; what is put there is handed to :meth:`following` with the same rows and length.
        """

    @abstractmethod
    def following(self, number: int, hidden: Any, mask: NDArray[np.int64], notes: dict[str, Any]) -> Step:
        """Run graph ``number``, from 1, on what the one before it gave."""

    @abstractmethod
    def gather(self, parts: Sequence[tuple[Any, NDArray[np.intp]]], tokens: int) -> Any:
        """Some rows of several hidden states in one, ``[B, tokens, H]``: shortened, or filled up with 0."""

    @abstractmethod
    def kept(self, hidden: Any) -> Any:
        """Hidden states that stay valid while other batches run."""


class GraphBackend(Backend):
    """A backend that runs files, on NumPy arrays.

    A subclass says in :meth:`names` what a graph takes and gives, and runs it in :meth:`call`.
    """

    contexts: int | None
    """Number of the graph that makes the contexts of a mask; ``None``: the graphs need none."""

    @abstractmethod
    def names(self, number: int) -> tuple[Sequence[str], Sequence[str]]:
        """Inputs and outputs of a graph."""

    @abstractmethod
    def call(self, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """Run a graph; what it gives is valid until it runs again.

        Args:
            number: of the graph.
            given: NumPy arrays, or what a graph gave.
        """

    def array(self, value: Any) -> NDArray[Any]:
        """What a graph gave as a NumPy array, which may share its memory."""
        found: NDArray[Any] = value
        return found

    def first(self, inputs: Mapping[str, NDArray[np.int64]], notes: dict[str, Any]) -> Step:
        found = self.call(0, {name: inputs[name] for name in self.names(0)[0]})
        notes.update({name: value for name, value in found.items() if name.startswith("context_")})
        notes["attention_mask"] = inputs["attention_mask"]
        return self._step(found)

    def following(self, number: int, hidden: Any, mask: NDArray[np.int64], notes: dict[str, Any]) -> Step:
        if not notes:
            notes["attention_mask"] = mask
            if self.contexts is not None:
                notes.update(self.call(self.contexts, notes))
        given = {name: hidden if name == "hidden" else notes[name] for name in self.names(number)[0]}
        return self._step(self.call(number, given))

    def _step(self, found: Mapping[str, Any]) -> Step:
        certainty = found.get("certainty")
        return Step(
            found.get("hidden_out"),
            self.array(found["logits"]).copy(),
            None if certainty is None else self.array(certainty).copy(),
        )

    def gather(self, parts: Sequence[tuple[Any, NDArray[np.intp]]], tokens: int) -> Any:
        arrays = [(self.array(hidden), rows) for hidden, rows in parts]
        like = arrays[0][0]
        made = np.zeros((sum(len(rows) for _, rows in parts), tokens, like.shape[2]), dtype=like.dtype)
        start = 0
        for hidden, rows in arrays:
            width = min(tokens, hidden.shape[1])
            for row in rows:  # rows are long: a copy each is quicker than an index over all
                made[start, :width] = hidden[row, :width]
                start += 1
        return made

    def kept(self, hidden: Any) -> Any:
        return self.array(hidden).copy()
