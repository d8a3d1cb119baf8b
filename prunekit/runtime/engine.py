"""One loop that runs models with exits, whatever runs their graphs.

Examples go through the graphs in batches. Who leaves, with which answer, is decided by the exit policy on
each example's own logits, so that it is the same as one example at a time. What leaves makes room: batches
are made smaller, or wait for others that are as deep and as long, where that takes less time on this machine
(COST-EFF, "Limitations": gather samples of similar complexity into a batch).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .backends.base import Backend, Step
from .batching import MASK, Answer, Batch, Example, joined, padded
from .cost import CostModel
from .deciding import decider

_FEW = 8  # batches' worth of examples before anything is measured


class Engine:
    """Runs a model's graphs on examples, in batches that examples leave and join.

    Args:
        backend: runs the graphs.
        exit_layers: the layer (from 1) after each graph.
        policy: name and arguments of the exit policy; ``None``: all graphs, always.
        inputs: names of the first graph's inputs.
        padding: what inputs are filled up with; 0 by default.
        longest: tokens that the model takes; ``None``: any number.
        id_limits: how many ids the model has embeddings for, by input.
        batch_size: rows of a batch, at most.
        compact: whether rows that have left are taken out of a batch: ``True`` at once, ``False`` never,
            ``None`` where that takes less time, as measured.
        refill: whether batches that have lost rows wait for others: the same three.
        wait: runs of other batches that one may wait for, at most.
        window: how many batches' worth of examples are sorted by length together. What comes slowly, from a
            terminal, wants 1.
    """

    def __init__(
        self,
        backend: Backend,
        exit_layers: Sequence[int],
        policy: Mapping[str, Any] | None = None,
        *,
        inputs: Sequence[str] = ("input_ids", MASK),
        padding: Mapping[str, int] | None = None,
        longest: int | None = None,
        id_limits: Mapping[str, int] | None = None,
        batch_size: int = 32,
        compact: bool | None = None,
        refill: bool | None = None,
        wait: int = 16,
        window: int = 32,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, expected 1 or more")
        if wait < 1 or window < 1:
            name, value = ("wait", wait) if wait < 1 else ("window", window)
            raise ValueError(f"{name} is {value}, expected 1 or more")
        self.backend = backend
        self.exit_layers = tuple(exit_layers)
        self.policy = policy
        self.batch_size = batch_size
        self._decide = decider(policy)
        self._inputs, self._padding, self._longest = tuple(inputs), dict(padding or {}), longest
        self._id_limits = dict(id_limits or {})
        self._compact, self._refill, self._wait = compact, refill, wait
        self._cost = CostModel(backend, self._inputs, batch_size, longest)
        self._window = window * batch_size
        self._clear()
        self._seen = 0  # examples that were begun

    def _clear(self) -> None:
        self._fresh: deque[tuple[Any, Example]] = deque()
        self._ready: deque[Batch] = deque()
        self._next: Batch | None = None  # goes on at once
        self._waiting: list[Batch] = []
        self._runs = 0

    def run(self, examples: Iterable[Example]) -> Iterator[Answer]:
        """Answers in the order of the examples, of which any number may come.

        What an earlier call left undone, because its answers were not all taken, is forgotten.

        Args:
            examples: for each input the ids of one text, without padding: ``input_ids``, and where there are
                segments ``token_type_ids``.

        Raises:
            ValueError: an example has no tokens, more than the model takes, or ids that it does not have.
        """
        self._clear()
        source = enumerate(examples)
        done: dict[int, Answer] = {}
        following, ended = 0, False
        most = 2 * self._window  # answers that may wait for an earlier one
        while True:
            while not ended and len(self._fresh) < self._window and len(done) < most:
                example = next(source, None)
                if example is None:
                    ended = True
                else:
                    self.add(*example)
            for key, answer in self.step():
                done[key] = answer
            while following in done:
                yield done.pop(following)
                following += 1
            if ended and not self:
                return

    def add(self, key: Any, example: Example) -> None:
        """Let an example wait for its first graph; :meth:`step` gives its answer with the key.

        Raises:
            ValueError: it has no tokens, more than the model takes, or ids that it does not have.
        """
        tokens = len(example["input_ids"])
        if not tokens or (self._longest is not None and tokens > self._longest):
            most = "any number" if self._longest is None else f"1 to {self._longest}"
            raise ValueError(f"an example has {tokens} tokens, and the model takes {most}")
        for name, limit in self._id_limits.items():
            if name in example and not 0 <= min(example[name]) <= max(example[name]) < limit:
                raise ValueError(f"an example has {name} that the model does not have: 0 to {limit - 1}")
        self._fresh.append((key, example))

    def __bool__(self) -> bool:
        """Whether there is anything left to do."""
        return bool(self._fresh or self._ready or self._waiting or self._next)

    def step(self) -> list[tuple[Any, Answer]]:
        """Run one graph on one batch: the answers of those that left; none where nothing is left to do."""
        batch, self._next = self._next, None
        if batch is None:
            batch = self._take()
            if batch is None:
                return []
            self._prepare(batch.tokens)
        self._runs += 1
        if batch.depth == 0:
            self._seen += batch.rows
            step = self.backend.first(batch.inputs, batch.notes)
        else:
            step = self.backend.following(batch.depth, batch.hidden, batch.mask, batch.notes)
        answers = self._answered(batch, step)
        if batch.alive.any():
            self._go_on(batch)
        return answers

    def _answered(self, batch: Batch, step: Step) -> list[tuple[Any, Answer]]:
        """Note what a graph gave, and let examples leave."""
        batch.history.append(step.logits)
        if step.certainty is not None:
            batch.certainty.append(step.certainty)
        batch.depth += 1
        batch.hidden, batch.inputs = step.hidden, {}
        if batch.depth == self.backend.graphs:
            leaving = batch.alive.copy()
        else:
            sure = np.stack(batch.certainty) if batch.certainty else None
            leaving = batch.alive & self._decide(np.stack(batch.history), batch.depth - 1, sure)
        layer = self.exit_layers[batch.depth - 1]
        batch.alive &= ~leaving
        return [(batch.keys[row], Answer(step.logits[row], layer)) for row in np.flatnonzero(leaving)]

    def _go_on(self, batch: Batch) -> None:
        """Have what is left of a batch go on, or wait."""
        if self._waits(batch):
            # Copied either way: the graph that made its hidden states may run before it goes on.
            if batch.left < batch.rows:
                batch = self._smaller(batch)
            else:
                batch.hidden, batch.notes = self.backend.kept(batch.hidden), {}
            batch.since = self._runs
            self._waiting.append(batch)
            return
        self._next = self._smaller(batch) if self._pays(batch) else batch

    def _smaller(self, batch: Batch) -> Batch:
        batch = joined(self.backend, [batch])
        self._prepare(batch.tokens)
        return batch

    def _prepare(self, tokens: int) -> None:
        """Have measured what batches of a length cost, while no graph's output is in use."""
        if self._measures():
            self._cost.prepare(tokens)

    def _measures(self) -> bool:
        """Whether measuring pays: there are more examples than it takes to measure."""
        free = self.backend.graphs > 1 and None in (self._compact, self._refill)
        return free and self._seen > _FEW * self.batch_size

    def _waits(self, batch: Batch) -> bool:
        """Whether a batch that has lost rows waits for others."""
        if self._refill is False or batch.left == self.batch_size:
            return False
        if self._refill:
            return True
        if not self._cost.knows(batch.tokens):
            return False
        alone = self._cost.seconds(batch.depth, batch.left, batch.tokens)
        full = self._cost.seconds(batch.depth, self.batch_size, batch.tokens) * batch.left / self.batch_size
        return alone - full > 2 * self._cost.copy(batch.left, batch.tokens)  # into the queue, and out of it

    def _pays(self, batch: Batch) -> bool:
        """Whether a batch is made smaller: as soon as what it wastes would have paid for it."""
        if batch.left == batch.rows or self._compact is False:
            return False
        if self._compact:
            return True
        if not self._cost.knows(batch.tokens):
            return batch.left <= batch.rows // 2
        whole = self._cost.seconds(batch.depth, batch.rows, batch.tokens)
        batch.wasted += whole - self._cost.seconds(batch.depth, batch.left, batch.tokens)
        return batch.wasted > self._cost.copy(batch.left, batch.tokens)

    def _take(self) -> Batch | None:
        """What runs next."""
        if self._waiting and self._runs - self._waiting[0].since >= self._wait:
            return self._with_others(self._waiting[0])
        full = self._full()
        if full is not None:
            return self._with_others(full)
        if not self._ready:
            self._make_ready()
        if self._ready:
            return self._ready.popleft()
        if self._waiting:
            return self._with_others(max(self._waiting, key=lambda batch: batch.depth))
        return None

    def _full(self) -> Batch | None:
        """One of the deepest batches that together are a full one."""
        rows: dict[tuple[int, int], int] = {}
        for batch in self._waiting:
            shape = (batch.depth, batch.tokens)
            rows[shape] = rows.get(shape, 0) + batch.left
        full = [shape for shape, count in rows.items() if count >= self.batch_size]
        if not full:
            return None
        return next(batch for batch in self._waiting if (batch.depth, batch.tokens) == max(full))

    def _with_others(self, first: Batch) -> Batch:
        """A batch that waits, filled up with rows of others of its depth and length."""
        parts, room = [first], self.batch_size - first.left
        for batch in self._waiting:
            if batch is first or (batch.depth, batch.tokens) != (first.depth, first.tokens) or not room:
                continue
            taken = np.zeros_like(batch.alive)
            taken[np.flatnonzero(batch.alive)[:room]] = True
            parts.append(replace(batch, alive=taken))
            batch.alive &= ~taken
            room -= int(taken.sum())
        self._waiting = [batch for batch in self._waiting if batch is not first and batch.left]
        return first if len(parts) == 1 else joined(self.backend, parts)

    def _make_ready(self) -> None:
        """Put fresh examples of like length together."""
        count = min(len(self._fresh), self._window)
        some = sorted((self._fresh.popleft() for _ in range(count)), key=lambda one: len(one[1]["input_ids"]))
        for start in range(0, count, self.batch_size):
            self._ready.append(
                padded(some[start : start + self.batch_size], self._inputs, self._padding, self._longest)
            )
