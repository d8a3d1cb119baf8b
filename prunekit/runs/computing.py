"""How a run computes: decided when it begins, and kept, so that it ends in the same bits."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from ..errors import RunError
from ..machine import machine, versions
from .records import COMPUTING, ComputingRecord, read_record

logger = logging.getLogger(__name__)
# Versions that bits depend on; of others results do, which run.json tells.
_COMPUTE = ("prunekit", "torch", "transformers", "accelerate", "tokenizers", "numpy")
_DAMAGED = "bring it back from a copy; or remove it: it is written anew, of how this machine computes now"


class Computing:
    """How a run computes. Made when it begins or goes on.

    Args:
        run: its folder.
        threads: of the processor, by stage, that there would be now.
        writes: whether this process writes.

    Raises:
        RunError: the run began with another number of processes, or its record cannot be read.
    """

    def __init__(self, run: Path, threads: Mapping[str, int], writes: bool) -> None:
        self._file = run / COMPUTING
        self._writes = writes
        there = read_record(self._file, ComputingRecord, _DAMAGED) if self._file.is_file() else None
        now = _now(threads)
        if there is None:
            self._record = now
            self._write()
            return
        if there.processes != now.processes:
            raise RunError(
                f"the run {run} began with {_counted(there.processes)}, and would go on with "
                f"{_counted(now.processes)}, which train on other batches",
                f"start it with as many: accelerate launch --num_processes {there.processes} ...; or start "
                "anew with --fresh, or under another name with --name OTHER",
            )
        self._record = there
        if changes := [*_changes(there.hardware, now.hardware), *_changes(there.versions, now.versions)]:
            logger.warning(
                "%s began with %s: from here on weights may differ in their last bits from those of a run "
                "that was never stopped",
                run, ", ".join(changes),
            )  # fmt: skip
            # Said once.
            self._record = there.model_copy(update={"hardware": now.hardware, "versions": now.versions})
            self._write()
        others = {key: count for key, count in there.threads.items() if threads.get(key, count) != count}
        if others:
            logger.info(
                "it goes on with the threads it began with: %s",
                ", ".join(f"{key} {count}" for key, count in others.items()),
            )

    @property
    def bfloat16(self) -> bool:
        """Whether ``precision: auto`` may take it."""
        return self._record.bfloat16

    def threads(self, stage: str) -> int:
        """Of the processor, for a stage."""
        return self._record.threads[stage]

    def caches(self, stage: str) -> bool | None:
        """Whether a stage with ``cache: auto`` keeps its teacher's answers; ``None``: not decided yet."""
        return self._record.caches.get(stage)

    def decide_cache(self, stage: str, keeps: bool) -> None:
        """Decide it, for good."""
        self._record = self._record.model_copy(update={"caches": {**self._record.caches, stage: keeps}})
        self._write()

    def _write(self) -> None:
        if self._writes:
            self._record.write(self._file)


def _now(threads: Mapping[str, int]) -> ComputingRecord:
    from accelerate import PartialState

    from ..stages.training.precision import quicker_in_bfloat16

    state, here, found = PartialState(), machine(), versions()
    return ComputingRecord(
        processes=state.num_processes,
        threads=dict(threads),
        bfloat16=quicker_in_bfloat16(state.device),
        versions={name: found[name] for name in _COMPUTE if name in found},
        hardware={
            "processor": here["processor"],
            "accelerator": here["accelerator"],
            "device": state.device.type,
        },
    )


def _changes(there: Mapping[str, str | None], now: Mapping[str, str | None]) -> list[str]:
    return [
        f"{name} {there.get(name) or 'none'}, not {value or 'none'}"
        for name, value in now.items()
        if name in there and there[name] != value
    ]


def _counted(processes: int) -> str:
    return "one process" if processes == 1 else f"{processes} processes"
