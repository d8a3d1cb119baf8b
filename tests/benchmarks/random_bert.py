"""The model that the benchmarks measure: a multi-exit BERT of MiniLM's depth with random weights."""

from __future__ import annotations

import torch
from transformers import BertConfig, BertModel

from prunekit.exits import MultiExitForSequenceClassification


def random_bert(
    vocabulary: int, width: int = 384, heads: int = 12, reads: str = "mean"
) -> MultiExitForSequenceClassification:
    """6 layers of ``4 x width`` neurons with an exit on each, two classes; two calls give the same model."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=6,
        num_attention_heads=heads,
        intermediate_size=4 * width,
    )
    backbone = BertModel(config, add_pooling_layer=False)
    return MultiExitForSequenceClassification.from_backbone(backbone, num_labels=2, reads=reads)
