"""Counting by tracing, against hand counts, the cost model, and torch's own counter."""

from __future__ import annotations

import logging

import pytest
import torch
from families import backbone
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    ElectraConfig,
    LlamaConfig,
    RobertaConfig,
)

from prunekit.costs import Cost, CostModel, exit_macs, module_costs, total_cost
from prunekit.errors import UnsupportedModelError
from prunekit.exits import MultiExitForSequenceClassification as MultiExit
from prunekit.granularities import registry as granularities
from prunekit.reports import count

T = 13
SIZES = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 60,
}
CONFIGS = {
    "bert": BertConfig(**SIZES),
    "roberta": RobertaConfig(**SIZES),
    "electra": ElectraConfig(**SIZES, embedding_size=16),
    "distilbert": DistilBertConfig(n_layers=2, dim=32, n_heads=4, hidden_dim=48, vocab_size=60),
    "llama": LlamaConfig(**SIZES, num_key_value_heads=2, pad_token_id=0),
}
IMPLEMENTATIONS = ["sdpa", "eager"]


def classifier(family, implementation="sdpa"):
    return AutoModelForSequenceClassification.from_config(
        CONFIGS[family], attn_implementation=implementation
    ).eval()


def multi_exit(family="bert", implementation="sdpa", **options):
    backbone = AutoModel.from_config(CONFIGS[family], attn_implementation=implementation)
    return MultiExit.from_backbone(backbone, **options).eval()


def torch_macs(model, **inputs):
    ids = torch.full((1, T), 2)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=ids, attention_mask=torch.ones_like(ids), **inputs)
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_bert_base_by_hand(implementation):
    """11.17 GMAC at 128 tokens whichever attention runs, where fvcore alone says 10.88 or 11.19."""
    model = BertForSequenceClassification(
        BertConfig(num_hidden_layers=1, vocab_size=9, attn_implementation=implementation)
    )
    counts = count(model)
    layer = 4 * 128 * 768 * 768 + 2 * 128 * 128 * 768 + 2 * 128 * 768 * 3072
    head = 768 * 768 + 2 * 768
    assert counts.total.macs == layer + head
    assert round((12 * layer + head) / 1e9, 2) == 11.17
    assert counts.uncounted == {}
    assert counts.module("bert.encoder.layer.0.intermediate.dense").macs == 128 * 768 * 3072


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("family", CONFIGS)
def test_classifiers_agree_with_the_cost_model_and_torch(family, implementation):
    model = classifier(family, implementation)
    counts = count(model, T)
    assert counts.total == total_cost(model, T)
    assert counts.uncounted == {}
    if implementation == "eager":
        assert counts.total.macs == torch_macs(model)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"head": "pooled", "num_labels": 3},
        {"reads": "mean", "exit_layers": [2]},
        {"reads": "learned"},
        {"reads": "learned", "certainty": True},
    ],
    ids=["first", "pooled", "mean-single", "learned", "certain"],
)
def test_exits_agree_with_the_cost_model_and_torch(family, implementation, options):
    certainty = "certainty" in options
    model = multi_exit(family, implementation, **{k: v for k, v in options.items() if k != "certainty"})
    if certainty:
        model.add_exit_certainty()
    for group in [
        g for name in ("heads", "neurons", "rank") for g in granularities.build(name).groups(model)
    ]:
        group.keep(torch.arange(max(1, group.size // 2)))
    leave_at_once = ("learned", 0.0) if certainty else ("entropy", 100.0)
    model.set_exit_policy(dict(zip(("name", "threshold"), leave_at_once, strict=True)))
    counts = count(model, T)
    assert counts.total == total_cost(model, T)
    rows = {row.layer: row for row in module_costs(model, T) if row.part == "exits"}
    assert {e.layer: (e.parameters, e.own_macs) for e in counts.exits} == {
        layer: (row.parameters, row.macs) for layer, row in rows.items()
    }
    assert [e.macs for e in counts.exits] == exit_macs(model, [T])[0].tolist()
    assert counts.exits[-1].macs == counts.total.macs
    assert [e.layer for e in counts.exits] == model.config.exit_layers
    if implementation == "eager":
        assert counts.total.macs == torch_macs(model, all_exits=True)
        # Everybody leaves at the first exit: what was really run is what the first exit is said to cost.
        assert counts.exits[0].macs == torch_macs(model)


def test_what_a_certainty_costs_by_hand():
    """H multiply-adds at every exit, H + 1 parameters once; the rest is as it was."""
    plain, model = multi_exit(), multi_exit()
    model.add_exit_certainty()
    before, after = total_cost(plain, T), total_cost(model, T)
    assert (after.parameters - before.parameters, after.macs - before.macs) == (33, 2 * 32)
    more = exit_macs(model, [T, 5]) - exit_macs(plain, [T, 5])
    assert more.tolist() == [[32, 64], [32, 64]]
    groups = [g for name in ("heads", "neurons") for g in granularities.build(name).groups(model)]
    assert CostModel(model, groups, T).total() == after
    example = {"input_ids": torch.full((3, T), 2)}
    measured = CostModel(model, groups, T, example_inputs=example).total()
    assert measured.parameters == after.parameters


def test_a_batch_costs_its_examples_and_modules_add_up():
    model = multi_exit()
    one, three = count(model, T), count(model, T, batch_size=3)
    assert three.total == Cost(one.total.parameters, 3 * one.total.macs)
    children = sum(
        one.module(n).macs for n in ("backbone.embeddings", "backbone.encoder", "exits.0", "exits.1")
    )
    assert children == one.total.macs
    assert one.modules[0].name == "" and one.modules[0].flops == 2 * one.total.macs
    assert one.total.parameters == sum(p.numel() for p in model.parameters())
    with pytest.raises(KeyError, match="nowhere"):
        one.module("nowhere")


class Odd(nn.Module):
    """A convolution, products that broadcast, a vector product, and a recurrent kernel nobody counts."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 3, padding=1)
        self.lstm = nn.LSTM(4, 5, batch_first=True)
        self.vector = nn.Parameter(torch.ones(5))
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        hidden = self.norm(self.conv(x))
        pairs = hidden.transpose(1, 2) @ torch.ones(4, 4)
        return self.lstm(pairs)[0] @ self.vector


def test_any_module_and_what_was_not_counted():
    model = Odd()
    counts = count(model, example_inputs=torch.zeros(2, 3, 7))
    assert counts.total.macs == 2 * (3 * 4 * 3 * 7 + 7 * 4 * 4 + 7 * 5)
    assert counts.uncounted == {"aten::lstm": 1}
    assert counts.ignored["aten::batch_norm"] == 1
    assert counts.batch_size == 2 and counts.sequence_length is None
    named = count(model, example_inputs={"x": torch.zeros(2, 3, 7)})
    assert named == counts


def test_the_model_is_left_as_it_was(caplog):
    model = classifier("bert").train()
    model.classifier.eval()
    with caplog.at_level(logging.WARNING):
        count(model, T)
    assert model.training and model.bert.training and not model.classifier.training
    assert caplog.records == []


def test_positions_behind_the_padding_index_are_not_to_be_had():
    model = backbone("roberta")  # 64 positions, the first two reserved
    assert count(model, sequence_length=62).sequence_length == 62
    with pytest.raises(UnsupportedModelError, match="at most 62 tokens"):
        count(model, sequence_length=63)


def test_what_cannot_be_traced_is_refused():
    with pytest.raises(UnsupportedModelError, match="example_inputs"):
        count(nn.Linear(2, 2))
    with pytest.raises(UnsupportedModelError, match="at most 512 tokens, not 513"):
        count(classifier("bert"), 513)
