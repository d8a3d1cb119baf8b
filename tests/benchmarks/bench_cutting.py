"""Cutting half of the heads and neurons: prunekit against torch-pruning, each in processes of its own.

    python tests/benchmarks/bench_cutting.py          # prints the figures; a quarter of an hour

The models have random weights: BERT base, and a Llama shape of about a billion parameters in bfloat16 (as
many key/value heads as queries: torch-pruning's tracing does not return on fewer). Both rank by magnitude
and keep half of every layer's heads and neurons. Time and the growth of the highest resident size are of
all that it takes: finding what belongs together, scoring and cutting. Repetitions are interleaved. The last
line is about a family that prunekit has no adapter for, of 7 billion parameters on the meta device: how
long its structure takes to verify.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, StableLmConfig, StableLmModel

import prunekit

LIMIT = 900  # seconds that one job may take
LLAMA = {
    "hidden_size": 2048,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "intermediate_size": 8192,
    "vocab_size": 4096,
}
BILLIONS = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "intermediate_size": 11008,
    "vocab_size": 50304,
}


def bert() -> nn.Module:
    torch.manual_seed(0)
    return BertModel(BertConfig(), add_pooling_layer=False).eval()


def llama() -> nn.Module:
    torch.manual_seed(0)
    with torch.device("meta"):
        model = LlamaModel(LlamaConfig(**LLAMA, num_key_value_heads=32))
    model = model.to(torch.bfloat16).to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.detach().uniform_(-0.02, 0.02)
    return model.eval()


MODELS: dict[str, Callable[[], nn.Module]] = {"bert": bert, "llama": llama}


def by_prunekit(model: nn.Module) -> None:
    budget = {"name": "ratio", "keep": 0.5}
    prunekit.Pruner(model, ["heads", "neurons"], "magnitude", budget=budget).step()


def by_torch_pruning(model: Any) -> None:
    import torch_pruning as tp

    heads = {}
    roots: list[nn.Module] = []
    if isinstance(model, BertModel):
        for layer in model.encoder.layer:
            attention = layer.attention.self
            heads |= dict.fromkeys((attention.query, attention.key, attention.value), 12)
            roots += [attention.query, layer.intermediate.dense]
    else:
        for layer in model.layers:
            attention = layer.self_attn
            heads |= dict.fromkeys((attention.q_proj, attention.k_proj, attention.v_proj), 32)
            roots += [attention.q_proj, layer.mlp.gate_proj]
    pruner = tp.pruner.BasePruner(
        model,
        {"input_ids": torch.ones(1, 4, dtype=torch.int64)},
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=0.0,
        pruning_ratio_dict=dict.fromkeys(roots, 0.5),
        num_heads=heads,
        prune_num_heads=True,
        prune_head_dims=False,
        head_pruning_ratio=0.5,
        output_transform=lambda output: output.last_hidden_state.sum(),
    )
    pruner.step()


JOBS: dict[str, Callable[[nn.Module], None]] = {"prunekit": by_prunekit, "torch-pruning": by_torch_pruning}


def widths(model: Any) -> list[tuple[int, int]]:
    """Of every layer: rows of queries, and of the FFN."""
    if isinstance(model, BertModel):
        layers = model.encoder.layer
        return [(x.attention.self.query.out_features, x.intermediate.dense.out_features) for x in layers]
    return [(x.self_attn.q_proj.out_features, x.mlp.gate_proj.out_features) for x in model.layers]


def job(model_name: str, name: str) -> None:
    """One job in this process: prints what it took."""
    model = MODELS[model_name]()
    before = highest_resident()
    began = time.perf_counter()
    JOBS[name](model)
    seconds = time.perf_counter() - began
    growth = highest_resident() - before
    print(json.dumps({"seconds": seconds, "bytes": growth, "widths": sorted(set(widths(model)))}))


def highest_resident() -> int:
    """Bytes, from Linux's own record."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def elsewhere(model: str, name: str) -> dict[str, Any]:
    """:func:`job` in a process of its own; without figures where it did not end in time."""
    command = [sys.executable, __file__, "--job", model, name]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return {}
    except subprocess.CalledProcessError as error:
        raise RuntimeError(error.stderr[-2000:]) from error
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def verification() -> float:
    """Seconds from a model on the meta device, of a family without an adapter, to its groups."""
    with torch.device("meta"):
        model = StableLmModel(StableLmConfig(**BILLIONS))
    began = time.perf_counter()
    prunekit.Pruner(model, ["heads", "neurons"], "random", budget={"name": "ratio", "keep": 0.5})
    return time.perf_counter() - began


@pytest.mark.benchmark
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("model", "ratio"), [("bert", 1.5), ("llama", 10.0)])
def test_faster_than_torch_pruning(model: str, ratio: float) -> None:
    """On BERT base both spend most of their time on reading and copying the weights: about twice as fast."""
    prunes, traces = elsewhere(model, "prunekit"), elsewhere(model, "torch-pruning")
    assert traces.get("seconds", LIMIT) >= ratio * prunes["seconds"]


@pytest.mark.benchmark
def test_a_structure_is_verified_in_two_seconds() -> None:
    assert min(verification() for _ in range(3)) < 2


if __name__ == "__main__":
    if "--job" in sys.argv:
        job(*sys.argv[-2:])
    else:
        for model in MODELS:
            results: dict[str, list[dict[str, Any]]] = {name: [] for name in JOBS}
            for _ in range(3):
                for name in JOBS:
                    results[name].append(elsewhere(model, name))
            for name, every in results.items():
                ended = [result for result in every if result]
                if not ended:
                    print(f"{model}: {name} did not end within {LIMIT} s")
                    continue
                seconds = [round(result["seconds"], 2) for result in ended]
                growth = statistics.median(result["bytes"] for result in ended) / 2**20
                print(f"{model}: {name} {seconds} s, {growth:.0f} MiB more, widths {ended[0]['widths']}")
        print("verification of 7 billion:", [round(verification(), 2) for _ in range(3)], "s")
