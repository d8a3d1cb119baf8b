"""A pruned BERT, and what it says of fixed inputs."""

from __future__ import annotations

import torch
from transformers import BertConfig

import prunekit


def pruned(auto, granularities=("heads", "neurons", "rank")):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=32,
        num_labels=2 if "Question" in auto.__name__ else 3,
    )
    model = auto.from_config(config).eval()
    sizes = {"heads": [2, 3], "neurons": [11, 30], "rank": 8}
    budget = {"name": "sizes", **{name: sizes[name] for name in granularities}}
    prunekit.Pruner(model, list(granularities), "magnitude", budget=budget).step()
    return model


def run(model):
    ids = torch.arange(3, 15).view(2, 6)
    with torch.no_grad():
        output = model.eval()(ids)
    for name in ("logits", "start_logits", "last_hidden_state"):
        if name in output:
            return output[name]
    raise AssertionError(f"no output that is known: {list(output)}")
