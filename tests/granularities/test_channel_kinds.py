"""The granularity ``channels`` where channels are concatenated, split, shared and normed."""

from __future__ import annotations

import copy
import time

import channel_models as models
import pytest
import torch
from families import backbone
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_toys import images, masked
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

from prunekit import Pruner, load, save
from prunekit.errors import PrunekitError, UnsupportedModelError
from prunekit.granularities.channel_check import hidden
from prunekit.granularities.channels import Channels
from prunekit.scorers import registry as scorers


def small_images(count=3):
    return images(count)[:, :, :4, :4]


def vectors(*shape):
    return torch.randn(*shape, 5, generator=torch.Generator().manual_seed(5))


def words():
    return torch.randint(0, 30, (3, 7), generator=torch.Generator().manual_seed(6))


KINDS = {
    "dense": (models.Dense, images, {"stem": 6, "layers.0": 4, "layers.1": 4, "layers.2": 4, "join": 8}),
    "unet": (models.UNet, images, {"down": 6, "deep": 8, "up": 5, "join": 6}),
    "inception": (
        models.Inception,
        small_images,
        {"stem": 8, "one": 4, "pool": 3, "reduce": 5, "three": 6, "join": 7},
    ),
    "twice": (models.Twice, small_images, {"first": 4, "other": 3, "join": 6}),
    "gated": (models.Gated, lambda: vectors(4), {"inner": 10, "fused": 8}),
    "gated tokens": (models.Gated, lambda: vectors(2, 4), {"inner": 10, "fused": 8}),
    "three parts": (lambda: models.Gated(3), lambda: vectors(2, 4), {"inner": 10, "fused": 8}),
    "gated convolution": (models.GatedConv, small_images, {"out": 5}),
    "tied": (models.Tied, words, {"wide": 24, "narrow": 16}),
    "tied, bias": (lambda: models.Tied(True), words, {"wide": 24, "narrow": 16}),
    "tied linear": (models.TiedLinear, lambda: vectors(4), {"inner": 12, "left": 10}),
    "tied across": (models.TiedAcross, lambda: vectors(4), {"free": 7}),
    "shared": (models.Shared, lambda: vectors(4), {"inner": 12, "wide": 7}),
}


def made(name):
    make, inputs_of, sizes = KINDS[name]
    torch.manual_seed(0)
    model = make().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model, inputs_of(), sizes


@pytest.mark.parametrize("name", KINDS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_cutting_is_hiding_in_any_order_and_several_steps(name, data):
    model, inputs, sizes = made(name)
    groups = Channels(inputs).groups(model)
    found = {g.name: g.size for g in groups}
    assert found.items() >= sizes.items()
    ties = {id(p): names for p, names in tied(model)}
    for group in data.draw(st.permutations([*groups, *groups, *groups])):
        kept = sorted(data.draw(st.sets(st.integers(0, group.size - 1), min_size=1)))
        with torch.no_grad():
            expected = masked(group, kept, model, inputs)
            before, cost = sum(p.numel() for p in model.parameters()), group.unit_parameters
            removed = group.size - len(kept)
            group.keep(torch.tensor(kept))
            assert torch.allclose(model(inputs), expected, atol=1e-5), group.name
        square = any(s.tensor is t.tensor and s is not t for s in group.slices for t in group.slices)
        if not square:  # else units share what lies at the crossings
            assert before - sum(p.numel() for p in model.parameters()) == removed * cost
    assert sorted(map(sorted, ties.values())) == sorted(sorted(names) for _, names in tied(model))


def tied(model):
    """Parameters with several names, and those names."""
    names = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), (parameter, []))[1].append(name)
    return [(p, n) for p, n in names.values() if len(n) > 1]


def test_a_dense_block_by_hand():
    """Where the channels of each layer are in those that read them, in two steps."""
    model, inputs, _ = made("dense")
    groups = {g.name: g for g in Channels(inputs).groups(model)}
    every = {"stem": list(range(6)), "layers.0": list(range(4)), "layers.1": list(range(4))}
    before = copy.deepcopy(model)
    for step in ({"layers.0": [0, 2, 3], "stem": [1, 2, 4, 5]}, {"stem": [0, 3], "layers.0": [1, 2]}):
        for name, kept in step.items():
            groups[name].keep(torch.tensor(kept))
            every[name] = [every[name][k] for k in kept]
    columns = every["stem"] + [6 + k for k in every["layers.0"]] + [10 + k for k in every["layers.1"]]
    assert torch.equal(model.stem.weight, before.stem.weight[every["stem"]])
    assert torch.equal(model.layers[0].weight, before.layers[0].weight[every["layers.0"]][:, every["stem"]])
    assert torch.equal(model.layers[2].weight, before.layers[2].weight[:, columns])
    assert torch.equal(model.norms[2].running_var, before.norms[2].running_var[columns])
    assert torch.equal(model.norms[2].bias, before.norms[2].bias[columns])
    assert model.norms[2].num_features == model.layers[2].in_channels == len(columns)
    assert model.join.in_channels == len(columns) + 4


@pytest.mark.parametrize("name", ["magnitude", "taylor", "taylor_published"])
def test_scores_behind_a_concatenation_by_hand(name):
    """Also after a step, when positions have moved."""
    model, inputs, _ = made("unet")
    groups = Channels(inputs).groups(model)

    def loss(model, batch):
        return model(batch).square().mean()

    for _ in range(2):
        up, down = model.up.out_channels, model.down.out_channels
        model.zero_grad()
        loss(model, inputs).backward()
        owned = {
            "up": [(model.up.weight, 1, slice(None)), (model.join.weight, 1, slice(0, up))],
            "down": [
                (model.down.weight, 0, slice(None)),
                (model.deep.weight, 1, slice(None)),
                (model.join.weight, 1, slice(up, up + down)),
            ],
        }
        biases = {"up": model.up.bias, "down": model.down.bias}
        found = scorers.build(name).score(model, groups, [inputs], loss)
        for key, pieces in owned.items():
            if name == "taylor":
                pieces = pieces[1:]
            total = sum(term(name, w).movedim(d, 0)[s].flatten(1).sum(1) for w, d, s in pieces)
            if name == "magnitude":
                total = (total + biases[key].square()).sqrt()
            assert torch.allclose(found[key], total.detach().abs(), rtol=1e-4, atol=1e-7), key
        for group in groups:
            group.keep(torch.arange(0, group.size, 2))


def term(name, weight):
    if name == "magnitude":
        return weight.square()
    product = weight * weight.grad
    return product if name == "taylor" else product.abs()


class Normed(nn.Module):
    """Norms that compute with all channels at once, behind a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.norm = nn.Linear(5, 6), nn.Linear(5, 4), nn.LayerNorm(10)
        self.middle, self.scale, self.head = nn.Linear(10, 9), nn.RMSNorm(9), nn.Linear(9, 3)

    def forward(self, x):
        x = self.norm(torch.cat([self.left(x), self.right(x)], -1))
        return self.head(self.scale(F.relu(self.middle(x))))


def test_norms_are_of_what_is_left():
    torch.manual_seed(0)
    model, inputs = Normed(), vectors(4)
    for norm in (model.norm, model.scale):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(model.norm.bias)
    before = copy.deepcopy(model)
    groups = {g.name: g for g in Channels(inputs).groups(model)}
    assert {n: g.size for n, g in groups.items()} == {"left": 6, "right": 4, "middle": 9}
    for name, kept in (("left", [0, 1, 3, 5]), ("middle", [1, 2, 4, 8]), ("right", [1, 3]), ("left", [1, 2])):
        groups[name].keep(torch.tensor(kept))
    with torch.no_grad():
        x = torch.cat([before.left(inputs)[:, [1, 3]], before.right(inputs)[:, [1, 3]]], 1)
        columns, rows = [1, 3, 7, 9], [1, 2, 4, 8]
        x = F.layer_norm(x, (4,), before.norm.weight[columns], before.norm.bias[columns])
        x = F.relu(F.linear(x, before.middle.weight[rows][:, columns], before.middle.bias[rows]))
        x = F.rms_norm(x, (4,), before.scale.weight[rows])
        expected = F.linear(x, before.head.weight[:, rows], before.head.bias)
        assert torch.allclose(model(inputs), expected, atol=1e-6)
    assert model.norm.normalized_shape == (4,) and model.scale.normalized_shape == (4,)


class Mixing(nn.Module):
    """What one channel becomes depends on the others; no norm says how."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed, self.free, self.head = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(F.relu(self.free(F.softmax(self.mixed(x), -1))))


class Shuffled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixed, self.free, self.head = nn.Conv2d(3, 16, 1), nn.Conv2d(4, 6, 1), nn.Conv2d(6, 2, 1)

    def forward(self, x):
        return self.head(F.relu(self.free(F.pixel_shuffle(self.mixed(x), 2))))


class WrittenSizes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixed, self.free, self.head = nn.Linear(5, 12), nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        a, b, c = self.mixed(x).split(4, -1)
        return self.head(F.relu(self.free(a * b + c)))


@pytest.mark.parametrize(
    "make, inputs", [(Mixing, vectors(4)), (WrittenSizes, vectors(4)), (Shuffled, images(2))]
)
def test_what_cutting_would_spoil_is_left_with_the_reason(make, inputs):
    """Weights that begin at zero, which hide every fault, do not hide these."""
    model = make()
    nn.init.zeros_(model.head.weight)
    granularity = Channels(inputs)
    assert [g.name for g in granularity.groups(model)] == ["free"]
    assert granularity.excluded["mixed"]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_layers_are_named_as_excluded(kind):
    granularity = Channels(vectors(2, 4))
    model = models.Recurrent(kind).eval()
    groups = granularity.groups(model)
    assert [g.name for g in groups] == ["after"]
    assert granularity.excluded["cells"] == f"channels of {kind.__name__} cannot be traced"
    assert "inner" in granularity.excluded
    expected = masked(groups[0], [1, 5], model, vectors(2, 4))
    groups[0].keep(torch.tensor([1, 5]))
    assert torch.allclose(model(vectors(2, 4)), expected, atol=1e-6)


def test_transposed_linear_layers_of_transformers_are_named_as_excluded():
    model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=40, n_positions=16))
    granularity = Channels({"input_ids": torch.arange(6)[None], "use_cache": False})
    with pytest.raises(UnsupportedModelError, match=r"c_attn: channels of Conv1D cannot be traced"):
        granularity.groups(model)
    assert "transformer.h.0.mlp.c_fc" in granularity.excluded


def test_a_tie_survives_saving(tmp_path):
    model, inputs, _ = made("tied")
    pruner = Pruner(model, [Channels(inputs)], "magnitude", budget={"name": "ratio", "keep": 0.5}, steps=2)
    while not pruner.done:
        pruner.step()
    assert model.out.weight is model.words.weight
    assert model.words.weight.shape == (30, 8) and model.words.embedding_dim == model.out.in_features == 8
    again = load(save(model, tmp_path / "model"), into=models.Tied())
    assert again.out.weight is again.words.weight
    assert torch.equal(again(inputs), model(inputs))


KINDS_OF_GROUPS = ("heads", "neurons", "channels")


@pytest.mark.parametrize("first", [False, True])
def test_heads_neurons_and_channels_together(first):
    """Channels that the others own are left out; the hidden width is cut beside heads and neurons.

    Against hiding: what is gone from the hidden width is zero where it is read, and norms are of the rest.
    """
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
    model = BertForSequenceClassification(BertConfig(vocab_size=40, **sizes)).eval()
    inputs = {"input_ids": torch.arange(6)[None] + 5}
    channels = Channels(inputs)
    names = [channels, "heads", "neurons"] if first else ["heads", "neurons", channels]
    pruner = Pruner(model, names, "magnitude", budget={"name": "ratio", "keep": 0.5}, steps=2)
    owned = {kind: [g.name for g in pruner.groups if g.granularity == kind] for kind in KINDS_OF_GROUPS}
    assert owned["channels"] == ["bert.encoder.layer.0.attention.output.dense", "bert.pooler.dense"]
    assert len(owned["heads"]) == len(owned["neurons"]) == 2
    assert "layers.0.neurons owns" in channels.excluded["bert.encoder.layer.0.intermediate.dense"]
    pruner.budget = Half()
    while not pruner.done:
        pruner.scores = {g.name: torch.rand(g.size) for g in pruner.groups}
        keeps = [pruner.scores[g.name].topk(g.size // 2).indices.sort().values for g in pruner.groups]
        with torch.no_grad():
            with hidden(pruner.groups, keeps):
                expected = model(**inputs).logits
            pruner.step()
            assert torch.allclose(model(**inputs).logits, expected, atol=1e-6)
    assert model.bert.encoder.layer[0].attention.self.query.weight.shape == (4, 4)


class Half:
    """Keeps the better half of every group."""

    def keep(self, model, groups, scores, fraction):
        return {g.name: scores[g.name].topk(g.size // 2).indices.sort().values for g in groups}


def test_rank_and_channels_do_not_go_together_where_they_overlap():
    model = backbone("bert")
    channels = Channels({"input_ids": torch.arange(6)[None] + 5})
    pruner = Pruner(model, ["rank", channels], "magnitude", budget={"name": "ratio", "keep": 0.5})
    names = {g.name for g in pruner.groups}
    assert "embeddings.rank" in names
    table = model.embeddings.word_embeddings.weight
    assert not any(s.tensor is table for g in pruner.groups for s in g.slices)


def test_a_failed_cut_leaves_the_model_whole(monkeypatch):
    """A tensor that cannot be made, after others could: nothing has changed yet."""
    model, inputs, _ = made("unet")
    groups = Channels(inputs).groups(model)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    group = next(g for g in groups if g.name == "down")
    broken, select, calls = copy.copy(group), torch.Tensor.index_select, []

    def fails(tensor, dim, index):
        calls.append(tensor)
        if len(calls) == 3:
            raise RuntimeError("out of memory")
        return select(tensor, dim, index)

    monkeypatch.setattr(torch.Tensor, "index_select", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        group.keep(torch.tensor([0, 1]))
    monkeypatch.undo()
    assert group.size == broken.size == 6
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    expected = masked(group, [0, 1], model, inputs)
    group.keep(torch.tensor([0, 1]))
    assert torch.allclose(model(inputs), expected, atol=1e-5)


def test_groups_found_before_another_cut_the_same_refuse_to_cut():
    model, inputs, _ = made("unet")
    old, new = Channels(inputs).groups(model), Channels(inputs).groups(model)
    new[0].keep(torch.tensor([1, 2]))
    with pytest.raises(UnsupportedModelError, match="find the groups again"):
        old[0].keep(torch.tensor([1, 2]))
    assert model.down.out_channels == 2


def test_forward_passes_that_hang_are_left_behind():
    class Sleeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.Linear(5, 5), nn.Linear(5, 2)

        def forward(self, x):
            time.sleep(3.2)
            return self.head(self.layer(x))

    start = time.monotonic()
    model = Sleeps()
    with pytest.raises(UnsupportedModelError, match=r"did not end within 0\.5 s"):
        Channels(vectors(2), time_limit=0.5).groups(model)
    assert time.monotonic() - start < 3.1
    assert not any(m._forward_hooks for m in model.modules())
    time.sleep(1)  # what is left behind ends, and is no other test's


def test_everything_owned_by_others_is_an_error():
    model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))
    with pytest.raises(PrunekitError, match=r"two groups are called 0"):
        Pruner(
            model,
            [Channels(vectors(2)), Channels(vectors(2))],
            "magnitude",
            budget={"name": "ratio", "keep": 0.5},
        )
