"""The cost model against hand counts, against models really built at those sizes, and against itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    ElectraConfig,
    LlamaConfig,
    LlamaModel,
)

from prunekit.architectures import LayerShape, ModelShape, reshape
from prunekit.costs import Cost, CostModel, exit_macs, layer_costs, module_costs, parameter_costs, total_cost
from prunekit.errors import UnsupportedModelError
from prunekit.exits import MultiExitForSequenceClassification as MultiExit
from prunekit.granularities import registry as granularities
from prunekit.groups import Slice, SlicedGroup

T, V, P = 128, 30_522, 512


def bert(hidden=768, heads=12, ffn=3072, layers=12):
    """A bare BERT on the meta device: shapes without memory."""
    with torch.device("meta"):
        return BertModel(
            BertConfig(
                num_hidden_layers=layers,
                hidden_size=hidden,
                num_attention_heads=heads,
                intermediate_size=ffn,
            )
        )


def multi_exit(backbone, **options):
    with torch.device("meta"):
        return MultiExit.from_backbone(backbone, **options)


def slender(heads, ffn, rank):
    model = multi_exit(bert())
    with torch.device("meta"):
        reshape(model, ModelShape(768, V, 768, rank, (LayerShape(heads, heads, 64, ffn),) * 12))
    return model


def groups_of(model, *names):
    return [g for name in names for g in granularities.build(name).groups(model)]


# Sizes by hand: L layers of hidden size H, attention width W, FFN F, rank R, C classes, E pooled exits.


def hand_parameters(L, H, W, F, R=None, C=2, poolers=0, exits=0):
    embeddings = (V * H if R is None else V * R + R * H) + P * H + 2 * H + 2 * H
    attention = 3 * (H * W + W) + (W * H + H) + 2 * H
    ffn = (H * F + F) + (F * H + H) + 2 * H
    return embeddings + L * (attention + ffn) + poolers * (H * H + H) + exits * (H * C + C)


def hand_macs(L, H, W, F, R=None, C=2, poolers=0, exits=0, tokens=T):
    layer = 4 * tokens * H * W + 2 * tokens * tokens * W + 2 * tokens * H * F
    return (0 if R is None else tokens * R * H) + L * layer + poolers * H * H + exits * H * C


# name, model, hand arguments, parameters (M), reduced, GMAC
TABLE = [
    (
        lambda: multi_exit(bert(256, 4, 1024), head="pooled"),
        (12, 256, 256, 1024, None, 2, 12, 12),
        18.22,
        6.0,
        1.31,
    ),
    (lambda: multi_exit(bert(256, 4, 1024)), (12, 256, 256, 1024, None, 2, 0, 12), 17.43, 6.3, 1.31),
    (lambda: slender(2, 256, 128), (12, 768, 128, 256, 128, 2, 0, 12), 13.92, 7.9, 1.27),
    (
        lambda: multi_exit(bert(512, 8, 2048), head="pooled"),
        (12, 512, 512, 2048, None, 2, 12, 12),
        56.88,
        1.9,
        5.03,
    ),
    (lambda: multi_exit(bert(512, 8, 2048)), (12, 512, 512, 2048, None, 2, 0, 12), 53.73, 2.0, 5.03),
    (lambda: slender(6, 1536, 384), (12, 768, 384, 1536, 384, 2, 0, 12), 54.99, 2.0, 5.63),
    (lambda: _classifier(8, 256, 4, 1024), (8, 256, 256, 1024, None, 2, 1, 1), None, 7.6, None),
    (lambda: _classifier(4, 312, 12, 1200), (4, 312, 312, 1200, None, 2, 1, 1), None, 7.6, None),
]
IDS = [
    "deebert-256",
    "pabee-256",
    "costeff-8x",
    "deebert-512",
    "pabee-512",
    "costeff-2x",
    "bert-8l",
    "tinybert-4",
]


def _classifier(layers, hidden, heads, ffn):
    with torch.device("meta"):
        return BertForSequenceClassification(
            BertConfig(
                num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads, intermediate_size=ffn
            )
        )


def test_bert_base():
    cost = total_cost(_classifier(12, 768, 12, 3072), T)
    assert cost.parameters == hand_parameters(12, 768, 768, 3072, poolers=1, exits=1) == 109_483_778
    assert cost.macs == hand_macs(12, 768, 768, 3072, poolers=1, exits=1)
    assert round(cost.parameters / 1e6, 2) == 109.48
    assert round(cost.macs / 1e9, 2) == 11.17
    assert cost.flops == 2 * cost.macs


@pytest.mark.parametrize(("build", "sizes", "millions", "reduced", "giga"), TABLE, ids=IDS)
def test_published_sizes(build, sizes, millions, reduced, giga):
    cost = total_cost(build(), T)
    assert cost == Cost(hand_parameters(*sizes), hand_macs(*sizes))
    assert round(109_483_778 / cost.parameters, 1) == reduced
    if millions is not None:
        # The table cuts or rounds its last digit: 54.985 stands as 54.99, 5.036 as 5.03, 5.625 as 5.63.
        assert abs(cost.parameters / 1e6 - millions) < 0.0051
        assert abs(cost.macs / 1e9 - giga) < 0.01


@pytest.mark.parametrize(
    ("heads", "ffn", "rank"), [(2, 256, 128), (6, 1536, 384), (12, 3072, 768), (1, 1, 1)]
)
def test_cost_model_foresees_the_slimmed_model(heads, ffn, rank):
    model = multi_exit(bert())
    groups = groups_of(model, "heads", "neurons", "rank")
    to = {"heads": heads, "neurons": ffn, "rank": rank}
    foreseen = CostModel(model, groups).total({g.name: to[g.granularity] for g in groups})
    assert foreseen == total_cost(slender(heads, ffn, rank if rank < 768 else None))
    assert CostModel(model, groups).total() == total_cost(model)


@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_cost_model_agrees_with_slimming(data):
    """Uneven sizes in every layer, on real models that are really cut, twice."""
    family = data.draw(st.sampled_from(["bert", "llama"]))
    model = _tiny(family)
    names = ["heads", "neurons", "rank"]
    for _ in range(2):
        groups = groups_of(model, *names)
        tokens = data.draw(st.integers(1, 40))
        costs = CostModel(model, groups, tokens)
        sizes = {g.name: data.draw(st.integers(1, g.size)) for g in groups}
        foreseen = costs.total(sizes)
        for group in groups:
            group.keep(torch.arange(sizes[group.name]))
        assert foreseen == total_cost(model, tokens)
        assert foreseen.parameters == sum(p.numel() for p in model.parameters())
        assert costs.uncounted == ()


def _tiny(family):
    if family == "bert":
        backbone = BertModel(
            BertConfig(
                vocab_size=50,
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=24,
            )
        )
    else:
        backbone = LlamaModel(
            LlamaConfig(
                vocab_size=50,
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                intermediate_size=24,
            )
        )
    return MultiExit.from_backbone(backbone, reads="learned")


def test_a_factorised_embedding_keeps_its_factors_at_its_present_rank():
    model = slender(2, 256, 128)
    [group] = groups_of(model, "rank")
    assert CostModel(model, [group]).total({group.name: 128}) == total_cost(model)
    half = CostModel(model, [group]).total({group.name: 64})
    assert total_cost(model).parameters - half.parameters == 64 * (V + 768)
    assert total_cost(model).macs - half.macs == 64 * 768 * T


@pytest.mark.parametrize("head", ["linear", "pooled"])
@pytest.mark.parametrize("reads", ["first", "mean", "learned"])
def test_exit_macs_by_hand(head, reads):
    model = multi_exit(
        bert(256, 4, 1024, layers=5), exit_layers=[2, 3, 5], head=head, reads=reads, num_labels=3
    )
    lengths = np.array([7, 128, 7, 1])
    got = exit_macs(model, lengths)
    assert got.dtype == np.int64 and got.shape == (4, 3)
    for row, tokens in zip(got, lengths, strict=True):
        one = (
            256 * 3 + (256 * 256 if head == "pooled" else 0) + (2 * tokens * 256 if reads == "learned" else 0)
        )
        expected = [
            hand_macs(n, 256, 256, 1024, tokens=tokens) + k * one for k, n in ((1, 2), (2, 3), (3, 5))
        ]
        assert row.tolist() == expected


def test_exit_macs_of_a_model_without_exits_is_the_whole():
    model = _classifier(2, 256, 4, 1024)
    assert exit_macs(model, torch.tensor([9, 128])).tolist() == [
        [total_cost(model, 9).macs],
        [total_cost(model, 128).macs],
    ]
    with pytest.raises(ValueError, match="must be given"):
        exit_macs(model, [])
    with pytest.raises(ValueError, match="at least 1"):
        exit_macs(model, [4, 0])


def test_parts_layers_and_exits_add_up():
    model = slender(2, 256, 128)
    total = total_cost(model, 64)
    rows = module_costs(model, 64)
    assert sum(r.parameters for r in rows) == total.parameters == sum(p.numel() for p in model.parameters())
    parts = parameter_costs(model, 64)
    assert list(parts) == ["word embeddings", "other embeddings", "attention", "FFN", "norms", "exits"]
    assert parts["word embeddings"] == Cost(V * 128 + 128 * 768, 64 * 128 * 768)
    assert parts["other embeddings"] == Cost(514 * 768, 0)
    assert parts["norms"] == Cost((1 + 2 * 12) * 2 * 768, 0)
    assert parts["exits"] == Cost(12 * (768 * 2 + 2), 12 * 768 * 2)
    layers = layer_costs(model, 64)
    assert list(layers) == list(range(1, 13)) and len(set(layers.values())) == 1
    assert layers[1].macs == hand_macs(1, 768, 128, 256, tokens=64)
    outside = parts["word embeddings"].macs + parts["exits"].macs
    assert sum(c.macs for c in layers.values()) + outside == total.macs
    # The model's order: embeddings, then layer by layer with its exit.
    assert [r.part for r in rows[:3]] == ["word embeddings", "other embeddings", "attention"]
    assert [r.part for r in rows if r.layer == 3] == ["attention", "FFN", "norms", "exits"]


def test_a_projection_after_narrow_embeddings_counts_once_a_token():
    config = ElectraConfig(
        vocab_size=50,
        embedding_size=8,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=20,
    )
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    parts = parameter_costs(model, 10)
    assert parts["other embeddings"].macs == 10 * 8 * 16
    assert parts["head"] == Cost(16 * 16 + 16 + 16 * 2 + 2, 16 * 16 + 16 * 2)


class Convolutions(nn.Module):
    def __init__(self, channels=6):
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1, stride=2)
        self.depth = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = nn.BatchNorm2d(channels)
        self.up = nn.ConvTranspose2d(channels, 2, 2, stride=2)
        self.last = nn.Linear(2 * 8 * 8, 5)

    def forward(self, image):
        hidden = self.norm(self.depth(self.first(image))).relu()
        return self.last(self.up(hidden).flatten(1))


def test_a_convolutional_network_by_hand():
    def by_hand(c):
        parameters = (27 * c + c) + (9 * c + c) + 2 * c + (c * 2 * 4 + 2) + (128 * 5 + 5)
        return Cost(parameters, 27 * c * 16 + 9 * c * 16 + c * 2 * 4 * 16 + 128 * 5)

    model = Convolutions()
    pieces = [
        Slice(model.first, "weight", 0),
        Slice(model.first, "bias", 0),
        Slice(model.depth, "weight", 0),
        Slice(model.depth, "bias", 0),
        Slice(model.norm, "weight", 0),
        Slice(model.norm, "bias", 0),
        Slice(model.up, "weight", 0),
    ]
    group = SlicedGroup("channels", "channels", 6, slices=pieces)
    for image in (torch.zeros(4, 3, 8, 8), (torch.zeros(1, 3, 8, 8),), {"image": torch.zeros(2, 3, 8, 8)}):
        costs = CostModel(model, [group], example_inputs=image)
        assert costs.total() == by_hand(6)
        assert costs.total({"channels": 2}) == by_hand(2)
    assert model.training and not model.first._forward_hooks


def test_parts_of_a_dimension_may_be_owned():
    """Two groups side by side in one dimension, and positions that none owns."""
    linear = nn.Linear(3 * 2 + 4 + 1, 5)
    side = [
        SlicedGroup("a", "x", 3, slices=[Slice(linear, "weight", 1, 2)]),
        SlicedGroup("b", "x", 4, slices=[Slice(linear, "weight", -1)]),
    ]
    costs = CostModel(linear, side, example_inputs=torch.zeros(7, 11))
    assert costs.total({"a": 1, "b": 2}) == Cost(5 * (2 + 2 + 1) + 5, 5 * (2 + 2 + 1))


def test_what_is_not_counted_is_named_and_wrong_use_is_refused():
    attention = nn.Sequential(nn.MultiheadAttention(4, 2))
    model = nn.ModuleList([attention, nn.Linear(4, 4)])
    model.forward = lambda x: model[1](x)
    assert CostModel(model, [], example_inputs=torch.zeros(1, 4)).uncounted == ("0.0", "0.0.out_proj")
    with pytest.raises(UnsupportedModelError, match="example_inputs"):
        CostModel(nn.Linear(2, 2), [])
    linear = nn.Linear(2, 2)
    twin = [SlicedGroup("a", "x", 2, slices=[Slice(linear, "weight", 0)]) for _ in range(2)]
    with pytest.raises(ValueError, match="unique"):
        CostModel(linear, twin, example_inputs=torch.zeros(1, 2))
    with pytest.raises(KeyError, match="nobody"):
        CostModel(linear, twin[:1], example_inputs=torch.zeros(1, 2)).total({"nobody": 1})
    too_many = SlicedGroup("a", "x", 3, slices=[Slice(linear, "weight", 0)])
    with pytest.raises(ValueError, match=r"weight \(2, 2\): group a of 3 units"):
        CostModel(linear, [too_many], example_inputs=torch.zeros(1, 2))


def test_measuring_leaves_every_module_in_its_own_mode():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    model[1].eval()  # frozen statistics
    statistics = model[1].running_mean.clone()
    CostModel(model, [], example_inputs=torch.randn(2, 3, 8, 8))
    assert model.training and model[0].training and not model[1].training
    assert torch.equal(model[1].running_mean, statistics)
