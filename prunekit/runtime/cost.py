"""What a batch costs on this machine, measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .backends.base import Backend

_SHORTEST = 16


class CostModel:
    """Seconds that graphs and copies take.

    One graph is measured for a few numbers of rows, at lengths that are powers of two, and taken to be
    linear in between; the other graphs are in proportion, by one measurement each. Measuring runs the
    graphs: what they gave before is overwritten, see :meth:`prepare`.

    Args:
        backend: runs the graphs.
        inputs: names of the first graph's inputs.
        batch_size: rows, at most.
        longest: tokens, at most.
        repetitions: of each measurement, of which the quickest counts.
    """

    def __init__(
        self,
        backend: Backend,
        inputs: Sequence[str],
        batch_size: int,
        longest: int | None = None,
        repetitions: int = 2,
    ) -> None:
        self._backend = backend
        self._inputs = tuple(inputs)
        self._rows = sorted({1, max(1, batch_size // 4), batch_size})
        self._longest = longest
        self._repetitions = repetitions
        self._times: dict[int, list[float]] = {}  # tokens -> seconds for each of self._rows
        self._copies: dict[int, float] = {}  # tokens -> seconds a row
        self._factors: list[float] = []  # of each graph but the first

    def prepare(self, tokens: int) -> None:
        """Measure what :meth:`seconds` and :meth:`copy` need for a length, if it was not measured yet."""
        for length in self._around(tokens):
            if length not in self._times:
                self._measure(length)

    def knows(self, tokens: int) -> bool:
        """Whether what a length needs was measured."""
        return all(length in self._times for length in self._around(tokens))

    def seconds(self, graph: int, rows: int, tokens: int) -> float:
        """What a graph, from 1, takes for this many rows of this many tokens."""
        like = self._between(tokens, lambda length: float(np.interp(rows, self._rows, self._times[length])))
        return like * self._factors[graph - 1]

    def copy(self, rows: int, tokens: int) -> float:
        """What it takes to put this many rows side by side."""
        return rows * self._between(tokens, self._copies.__getitem__)

    def _between(self, tokens: int, measured: Callable[[int], float]) -> float:
        """What was measured at the lengths around one, for the length itself."""
        low, high = self._around(tokens)
        return float(np.interp(tokens, (low, high), (measured(low), measured(high))))

    def _measure(self, tokens: int) -> None:
        times = []
        for rows in self._rows:
            states = self._states(rows, tokens)
            times.append(self._graph(1, states))
        self._times[tokens] = times
        taken = np.arange(0, self._rows[-1], 2)
        copying = self._quickest(partial(self._backend.gather, [(states[0], taken)], tokens))
        self._copies[tokens] = copying / len(taken)
        if not self._factors:
            few = self._states(self._rows[len(self._rows) // 2], tokens)
            every = [self._graph(number, few) for number in range(1, self._backend.graphs)]
            self._factors = [seconds / max(every[0], 1e-9) for seconds in every]

    def _graph(self, number: int, states: tuple[Any, Any, dict[str, Any]]) -> float:
        return self._quickest(partial(self._backend.following, number, *states))

    def _states(self, rows: int, tokens: int) -> tuple[Any, Any, dict[str, Any]]:
        notes: dict[str, Any] = {}
        inputs = {name: np.ones((rows, tokens), dtype=np.int64) for name in self._inputs}
        hidden = self._backend.kept(self._backend.first(inputs, notes).hidden)
        return hidden, np.ones((rows, tokens), dtype=np.int64), notes

    def _quickest(self, run: Callable[[], Any]) -> float:
        run()  # buffers, kernels
        seconds = []
        for _ in range(self._repetitions):
            began = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - began)
        return min(seconds)

    def _around(self, tokens: int) -> tuple[int, int]:
        """The lengths that are measured: the power of two that is reached, and the next one."""
        low = max(_SHORTEST, 1 << (tokens.bit_length() - 1))
        high = low if tokens <= low else 2 * low
        return (low, high) if self._longest is None else (min(low, self._longest), min(high, self._longest))
