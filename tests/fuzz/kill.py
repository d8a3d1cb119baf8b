"""Kill a run at random moments, let it go on until it is done, and compare it with one that was never killed.

    python tests/fuzz/kill.py --kills 100 --seed 1

A process kills itself with SIGKILL: after a random time, right before a random change of the disk (a rename,
a new folder, a file opened for writing, a removal), or right after one. What must be equal in the end: every
weight, the figures of the reports, what was measured, the records of data and of computing, and the list of
all files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

RECIPE = """\
name: micro
seed: 11
model:
  name: builtin:small-encoder
  config: {num_hidden_layers: 2, hidden_size: 16, num_attention_heads: 4, intermediate_size: 32}
data: {task: reviews, train_size: 48, validation_size: 24, test_size: 24}
exits: {reads: mean}
training: {precision: float32, batch_size: 16, checkpoint_seconds: 0}
finetune: {epochs: 2, learning_rate: 1.0e-3}
assistant: {epochs: 1, learning_rate: 1.0e-3}
slenderize: {heads: 2, neurons: 16, rank: 8, score_batches: 2, interval_epochs: 0.4, learning_rate: 1.0e-3}
recover: {features_epochs: 1, epochs: 1, features_learning_rate: 1.0e-3, learning_rate: 1.0e-3}
evaluate: {thresholds: [0.2, 0.6]}
stages: [finetune, assistant, slenderize, recover, evaluate]
compare:
  systems:
    quick: {stages: [finetune, assistant, evaluate], assistant: {temperature: 4}}
"""
COMMAND = ["apply", "micro.yaml", "--output", "runs"]
# Of these the first argument is the path, or the one that is taken away.
CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "open")
# What differs from run to run by its nature.
VOLATILE = ("created", "seconds", "finished")


def apply(folder: str, mode: str, moment: float) -> None:
    """In a process of its own: apply the recipe there, and be killed.

    Args:
        folder: the working folder.
        mode: ``"never"``; ``"after a time"``, in seconds; ``"before a change"`` or ``"after a change"``,
            counted from 1. With ``"never"`` the number of changes is written to ``changes``.
        moment: when.
    """
    import torch

    from prunekit import cli

    os.chdir(folder)
    torch.set_num_threads(1)
    with Path("log").open("ab", buffering=0) as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    seen = _count_changes(mode, moment) if mode != "after a time" else [0]
    if mode == "after a time":
        threading.Thread(target=lambda: (time.sleep(moment), _die()), daemon=True).start()
    sys.argv = ["prunekit", *COMMAND]
    code = cli.run(COMMAND)
    if mode == "never":
        Path("changes").write_text(str(seen[0]))
    os._exit(code)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _count_changes(mode: str, moment: float) -> list[int]:
    """Count the changes of the run's folder, and end at one; the count so far."""
    runs, seen = str(Path.cwd() / "runs"), [0]
    busy = threading.local()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if getattr(busy, "now", False):
            return
        busy.now = True
        try:
            if mode == "after a change" and seen[0] >= moment:
                _die()
            if event in CHANGES and _changes(event, arguments) and _is_below(runs, arguments[0]):
                seen[0] += 1
                if mode == "before a change" and seen[0] >= moment:
                    _die()
        finally:
            busy.now = False

    sys.addaudithook(hook)
    return seen


def _changes(event: str, arguments: tuple[Any, ...]) -> bool:
    return event != "open" or bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _is_below(folder: str, path: Any) -> bool:
    if not isinstance(path, (str, bytes, os.PathLike)):
        return False
    return os.path.abspath(os.fsdecode(path)).startswith(folder)  # noqa: PTH100 - without asking the disk


def picture(folder: Path) -> dict[str, Any]:
    """All that must be equal in two runs of the recipe, by where it is."""
    found: dict[str, Any] = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if not file.is_file():
            found[name + "/"] = None
        elif file.suffix == ".safetensors":
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
        elif file.name == "metrics.jsonl":
            lines = [_steady(json.loads(line)) for line in file.read_text().splitlines()]
            # A loss is a mean since the last record, which a resumed run begins anew.
            records = [{k: v for k, v in line.items() if k != "loss"} for line in lines]
            found[name] = sorted(
                records, key=lambda r: [str(r[k]) for k in ("stage", "phase", "kind", "step")]
            )
        elif file.name == "done.json":
            done = _steady(json.loads(file.read_text()))
            # A report holds its time.
            files = done.get("files", {})
            done["files"] = {k: v for k, v in files.items() if not k.startswith("report/")} | {
                k: None for k in files if k.startswith("report/")
            }
            done["files"].pop("model/README.md", None)
            found[name] = done
        elif file.suffix == ".json":
            found[name] = _steady(json.loads(file.read_text()))
        else:
            found[name] = None
    return found


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(item) for key, item in value.items() if key not in VOLATILE}
    return [_steady(item) for item in value] if isinstance(value, list) else value


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """In words."""
    words = [f"missing: {name}" for name in one.keys() - other.keys()]
    words += [f"left over: {name}" for name in other.keys() - one.keys()]
    words += [f"differs: {name}" for name in one.keys() & other.keys() if one[name] != other[name]]
    return sorted(words)


class Harness:
    """Runs the recipe in folders below one.

    Args:
        work: empty; what went wrong stays there.
        seed: of the moments.
    """

    def __init__(self, work: Path, seed: int) -> None:
        self.work = work
        self.draw = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.rounds = 0
        self.bad: list[str] = []
        # The server imports everything once; its children start at once.
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(
            ["prunekit.cli", "prunekit.stages.training.fit", "prunekit.comparison"]
        )
        begun = time.monotonic()
        assert self._start("unbroken", "never", 0) == 0, (work / "unbroken" / "log").read_text()
        self.seconds = time.monotonic() - begun
        self.changes = int((work / "unbroken" / "changes").read_text())
        self.unbroken = picture(work / "unbroken" / "runs")

    def run(self, kills: int) -> None:
        """Begin runs, kill them, and let them end, until so many kills were done."""
        while sum(self.kills.values()) < kills and not self.bad:
            self.rounds += 1
            name = f"round-{self.rounds}"
            begun = sum(self.kills.values())
            while True:
                # Later ones get more time, so that a slow machine comes to an end as well.
                own = sum(self.kills.values()) - begun
                mode, moment = self._moment(1 + own / 10)
                if own > 200 or sum(self.kills.values()) >= kills:
                    mode, moment = "never", 0
                code = self._start(name, mode, moment)
                if code == -signal.SIGKILL:
                    self.kills[mode] += 1
                    continue
                break
            found = [f"{name}: exit code {code}"] if code else []
            self.bad += found or [
                f"{name}: {w}" for w in differences(self.unbroken, picture(self.work / name / "runs"))
            ]
            if not self.bad:
                shutil.rmtree(self.work / name)

    def _moment(self, stretch: float) -> tuple[str, float]:
        mode = self.draw.choice(["after a time", "before a change", "after a change"])
        if mode == "after a time":
            return mode, self.draw.uniform(0.1, self.seconds / 3) * stretch
        return mode, self.draw.randint(1, max(2, int(self.changes / 4 * stretch)))

    def _start(self, name: str, mode: str, moment: float) -> int | None:
        folder = self.work / name
        folder.mkdir(exist_ok=True)
        (folder / "micro.yaml").write_text(RECIPE)
        child = self.context.Process(target=apply, args=(str(folder), mode, moment))
        child.start()
        child.join()
        return child.exitcode

    def words(self) -> str:
        """What was done, and what was found."""
        total = sum(self.kills.values())
        told = ", ".join(f"{count} {mode}" for mode, count in sorted(self.kills.items()))
        return "\n".join(
            [f"{total} kills ({told}) in {self.rounds} runs, {len(self.bad)} differences", *self.bad]
        )


def main() -> int:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    asked = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="kills-"))
    print(f"{asked.kills} kills, moments drawn from seed {asked.seed}, in {work}", flush=True)
    harness = Harness(work, asked.seed)
    print(f"never killed: {harness.seconds:.1f} s, {harness.changes} changes of the disk", flush=True)
    harness.run(asked.kills)
    print(harness.words())
    if harness.bad:
        return 1
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    for variable in ("OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM", "HF_HUB_OFFLINE"):
        os.environ.setdefault(variable, "1" if variable != "TOKENIZERS_PARALLELISM" else "false")
    sys.exit(main())
