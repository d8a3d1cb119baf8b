"""What the runtime makes of saved FLOPs: milliseconds of dense and slim, whole and in segments, with exits.

    python tests/benchmarks/bench_runtime.py          # prints the figures; some minutes

The model is BERT base with random weights, cut to 2 heads and 256 neurons a layer and rank 128: 8.8 times
fewer FLOPs. Shapes and backends are interleaved; of each the smallest and the median time are printed. The
last part sends 1,024 examples with lengths as of short sentences through the engine, with thresholds under
which a fifth of those that are left leaves at each exit.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

import prunekit
from prunekit.exits import MultiExitForSequenceClassification
from prunekit.runtime import Engine, export, load
from prunekit.runtime.deciding import _probabilities

SHAPES = ((1, 16), (1, 128), (8, 128), (32, 16))
BACKENDS = ("openvino", "onnx")


def models() -> tuple[MultiExitForSequenceClassification, MultiExitForSequenceClassification]:
    """Dense and slim."""
    made = []
    for slim in (False, True):
        torch.manual_seed(0)
        backbone = BertModel(BertConfig(), add_pooling_layer=False)
        model = MultiExitForSequenceClassification.from_backbone(backbone, num_labels=2).eval()
        if slim:
            keep = {"heads": 2 / 12, "neurons": 256 / 3072}
            prunekit.Pruner(
                model, ["heads", "neurons"], "random", budget={"name": "ratio", "keep": keep}
            ).step()
            prunekit.Pruner(model, ["rank"], "magnitude", budget={"name": "ratio", "keep": 128 / 768}).step()
        made.append(model)
    return made[0], made[1]


def once(engine: Engine, inputs: dict[str, Any]) -> None:
    """A batch through all graphs."""
    notes: dict[str, Any] = {}
    step = engine.backend.first(inputs, notes)
    for number in range(1, engine.backend.graphs):
        step = engine.backend.following(number, step.hidden, inputs["attention_mask"], notes)


def interleaved(jobs: dict[Any, Callable[[], None]], repetitions: int) -> dict[Any, tuple[float, float]]:
    """Smallest and median milliseconds of each job."""
    times: dict[Any, list[float]] = {name: [] for name in jobs}
    for repetition in range(repetitions + 2):
        for name, job in jobs.items():
            began = time.perf_counter()
            job()
            if repetition > 1:
                times[name].append(1000 * (time.perf_counter() - began))
    return {name: (min(every), statistics.median(every)) for name, every in times.items()}


def engines(folder: Path) -> dict[tuple[str, str, str], Engine]:
    """By model, backend, and whether it is whole or in segments."""
    found = {}
    for name, model in zip(("dense", "slim"), models(), strict=True):
        for backend in BACKENDS:
            for whole in (True, False):
                if name == "slim" or whole:
                    place = folder / f"{name}-{backend}-{whole}"
                    export(model, place, backend, whole=whole)  # type: ignore[arg-type]
                    found[name, backend, "whole" if whole else "segments"] = load(place)
        found[name, "torch", "segments"] = load(model)
    return found


def thresholds(engine: Engine, examples: list[dict[str, Any]]) -> list[float]:
    """Entropies under which a fifth of the examples that are left leave at each exit."""
    every: list[Any] = []
    for example in examples[:200]:
        inputs = {name: np.array([example["input_ids"]]) for name in ("input_ids", "token_type_ids")}
        inputs["token_type_ids"] = np.zeros_like(inputs["input_ids"])
        inputs["attention_mask"] = np.ones_like(inputs["input_ids"])
        notes: dict[str, Any] = {}
        step = engine.backend.first(inputs, notes)
        logits = [step.logits[0]]
        for number in range(1, engine.backend.graphs):
            step = engine.backend.following(number, step.hidden, inputs["attention_mask"], notes)
            logits.append(step.logits[0])
        p = _probabilities(np.stack(logits))
        every.append(-(p * np.log(p)).sum(axis=-1))
    left, chosen = np.stack(every), []
    for number in range(left.shape[1] - 1):
        chosen.append(float(np.quantile(left[:, number], 0.2)))
        left = left[left[:, number] >= chosen[-1]]
    return chosen


def with_exits(source: Engine, count: int = 1024) -> dict[str, float]:
    """Seconds for all examples: whole, leaving together, leaving alone; and the share of layers that ran."""
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.lognormal(3.1, 0.5, count).astype(int), 4, 64)
    examples = [{"input_ids": generator.integers(5, 30000, length).tolist()} for length in lengths]
    policy = {"name": "entropy", "threshold": thresholds(source, examples)}
    found: dict[str, float] = {}
    ways: dict[str, dict[str, Any]] = {
        "all layers": {"policy": None},
        "rows stay to the end": {"policy": policy, "compact": False, "refill": False},
        "as measured": {"policy": policy},
        "compact": {"policy": policy, "compact": True, "refill": False},
        "compact and refill": {"policy": policy, "compact": True, "refill": True},
    }
    made = {
        name: Engine(
            source.backend, source.exit_layers, settings.pop("policy"),
            inputs=("input_ids", "attention_mask", "token_type_ids"), longest=512, **settings,
        )
        for name, settings in ways.items()
    }  # fmt: skip
    for repetition in range(4):
        for name, engine in made.items():
            began = time.perf_counter()
            answers = list(engine.run(examples))
            seconds = time.perf_counter() - began
            if repetition:
                found[name] = min(seconds, found.get(name, seconds))
            if name == "as measured":
                found["share of layers"] = float(np.mean([a.exit_layer for a in answers])) / 12
    return found


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_segments_and_exits_pay() -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = engines(Path(folder))
        mask = np.ones((8, 128), dtype=np.int64)
        inputs = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), mask)
        jobs = {how: partial(once, made["slim", "openvino", how], inputs) for how in ("whole", "segments")}
        times = interleaved(jobs, 10)
        assert times["segments"][0] <= 1.15 * times["whole"][0]
        seconds = with_exits(made["slim", "openvino", "segments"], 512)
        assert seconds["as measured"] <= seconds["rows stay to the end"] / 1.3


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = engines(Path(folder))
        for engine in made.values():
            print(engine.backend.description)
        for rows, tokens in SHAPES:
            mask = np.ones((rows, tokens), dtype=np.int64)
            inputs = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), mask)
            jobs = {name: partial(once, engine, inputs) for name, engine in made.items()}
            for name, (least, median) in interleaved(jobs, 10 if rows * tokens > 200 else 40).items():
                print(f"{rows} x {tokens}: {' '.join(name)}: {least:.2f} ms, median {median:.2f}", flush=True)
        for backend in (*BACKENDS, "torch"):
            print(backend, {k: round(v, 3) for k, v in with_exits(made["slim", backend, "segments"]).items()})
