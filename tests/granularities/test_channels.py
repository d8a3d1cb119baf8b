"""Channels through torch-pruning's graph: slimming equals masking, and what cannot be narrowed is left."""

from __future__ import annotations

import copy
import threading
import time

import pytest
import torch
import torch_pruning as tp
from families import backbone
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_toys import images, masked, small_cnn
from torch import nn

from prunekit.dependency_graph import pieces
from prunekit.errors import UnsupportedModelError
from prunekit.granularities import registry as granularities
from prunekit.granularities.channels import Channels
from prunekit.granularities.time_limit import run_within
from prunekit.groups import SlicedGroup


class Mixed(nn.Module):
    """Depthwise, grouped and transposed convolutions, concatenation, flattening and a gated sum."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 6, 1)
        self.join = nn.Conv2d(10, 8, 1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 12, 1, groups=2)
        self.up = nn.ConvTranspose2d(12, 5, 2, stride=2)
        self.act = nn.PReLU(5)
        self.gated = nn.Linear(5 * 64, 10)
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        x = torch.relu(self.join(torch.cat([self.left(x), self.right(x)], dim=1)))
        x = torch.relu(self.grouped(self.depthwise(x)))
        x = self.act(self.up(x))
        value, gate = self.gated(x.flatten(1)).chunk(2, dim=1)
        return self.head(value * torch.sigmoid(gate))


def mlp():
    return nn.Sequential(nn.Linear(5, 12), nn.GELU(), nn.Linear(12, 7), nn.Sigmoid(), nn.Linear(7, 3))


MODELS = {
    "cnn": (small_cnn, images, {"stem": 6, "inner": 10, "hidden": 12}),
    "mlp": (
        mlp,
        lambda count=4: torch.randn(count, 5, generator=torch.Generator().manual_seed(3)),
        {"0": 12, "2": 7},
    ),
    "mixed": (
        Mixed,
        lambda count=4: images(count)[:, :, :4, :4],
        {"left": 4, "right": 6, "join": 4, "grouped": 6, "up": 5, "gated": 5},
    ),
}


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_slimming_equals_masking(name, data):
    """Group after group, so that positions that moved are right as well."""
    make, inputs_of, sizes = MODELS[name]
    torch.manual_seed(0)
    model, inputs = make().eval(), inputs_of()
    groups = Channels(inputs_of(2)).groups(model)
    assert {g.name: g.size for g in groups} == sizes
    for group in data.draw(st.permutations(groups)):
        kept = sorted(data.draw(st.sets(st.integers(0, group.size - 1), min_size=1)))
        with torch.no_grad():
            expected = masked(group, kept, model, inputs)
            pieces = [(piece, piece.tensor.shape[piece.dim]) for piece in group.slices]
            removed = group.size - len(kept)
            group.keep(torch.tensor(kept))
            for piece, before in pieces:
                assert piece.tensor.shape[piece.dim] == before - removed * piece.width
            assert torch.allclose(model(inputs), expected, atol=1e-5), group.name
        assert group.size == len(kept)
    model.train()
    model(inputs).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_kept_slices_are_the_units_own(name):
    """What stays of every parameter is what its slices say belongs to the units that were kept."""
    make, inputs_of, _ = MODELS[name]
    torch.manual_seed(0)
    model = make().eval()
    for group in Channels(inputs_of(2)).groups(model):
        kept = torch.arange(0, group.size, 2)
        gone = torch.arange(1, group.size, 2)
        before = [(p, p.tensor.detach().clone(), p.positions(gone).unique()) for p in group.slices]
        group.keep(kept)
        for piece, old, positions in before:
            stays = [i for i in range(old.shape[piece.dim]) if i not in positions.tolist()]
            expected = old.index_select(piece.dim, torch.tensor(stays))
            seen = [other for other, *_ in before if other.tensor is piece.tensor]
            if len(seen) == 1:  # of parameters with one such dimension
                assert torch.equal(piece.tensor, expected)


def test_the_model_is_left_as_it_was():
    model = small_cnn().train()
    model.inner.eval()
    model.stem.requires_grad_(False)
    inputs = images(2)
    before = copy.deepcopy(model.state_dict())
    modes, flags = [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]
    with torch.no_grad():
        groups = Channels(inputs).groups(model)
    assert not any(m._forward_hooks for m in model.modules())
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    for count in (3, 2):
        assert [m.training for m in model.modules()] == modes
        assert [p.requires_grad for p in model.parameters()] == flags
        groups[0].keep(torch.arange(count))
    assert model.stem.weight.shape[0] == 2 and not model.stem.weight.requires_grad


def test_ignored_layers_and_outputs_stay():
    groups = granularities.build(
        {"name": "channels", "example_inputs": images(1), "ignore": ["hid*"]}
    ).groups(small_cnn())
    assert [g.name for g in groups] == ["stem", "inner"]
    model = small_cnn()
    granularity = Channels(images(1), ignore=model.outer)
    assert {g.name for g in granularity.groups(model)} == {"inner", "hidden"}
    assert granularity.excluded == {"head": "the model returns them", "stem": "outer is ignored"}
    with pytest.raises(UnsupportedModelError, match="'nowhere' is no module"):
        Channels(images(1), ignore=["nowhere"]).groups(model)


class Returns(nn.Module):
    """Returns a hidden state beside its logits, and has a layer whose width is written into the code."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 8)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        state = self.first(x)
        wide = self.third(torch.relu(self.second(torch.relu(state))))
        return {"logits": self.head(wide.view(-1, 2, 4).sum(1)), "states": (state,), "cache": object()}


def test_what_cannot_be_narrowed_is_left():
    granularity = Channels({"x": torch.randn(3, 4)})
    assert [g.name for g in granularity.groups(Returns())] == ["second"]
    assert granularity.excluded["first"] == "the model returns them"
    assert "fails" in granularity.excluded["third"]


def test_models_that_cannot_be_traced():
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return self.layer(x).detach()

    with pytest.raises(UnsupportedModelError, match="returns no tensor that depends"):
        Channels(torch.randn(2, 4)).groups(Detached())
    model = small_cnn()
    with pytest.raises(UnsupportedModelError, match="cannot trace SmallCNN: RuntimeError"):
        Channels(torch.randn(2, 4)).groups(model)
    assert not any(m._forward_hooks for m in model.modules())
    with pytest.raises(UnsupportedModelError, match="needs example_inputs"):
        granularities.build("channels").groups(model)
    with pytest.raises(UnsupportedModelError, match="no channels that can be removed"):
        Channels(torch.randn(2, 4)).groups(nn.Linear(4, 4))


def test_tracing_that_does_not_end_is_stopped():
    """torch-pruning loops for ever on two query heads a key/value head; also off the main thread."""
    model = backbone("llama", use_cache=False)
    inputs = {"input_ids": torch.arange(6)[None]}
    errors = []

    def trace():
        try:
            Channels(inputs, time_limit=2.0).groups(model)
        except UnsupportedModelError as error:
            errors.append(str(error))

    start = time.monotonic()
    thread = threading.Thread(target=trace)
    thread.start()
    thread.join(20)
    assert time.monotonic() - start < 10
    assert len(errors) == 1
    assert "did not end within 2 s" in errors[0] and "'heads' and 'neurons'" in errors[0]
    assert not any(t.name == "prunekit-time-limit" for t in threading.enumerate())
    assert not any(m._forward_hooks for m in model.modules())


def test_run_within_hands_on_results_and_errors():
    assert run_within(5, lambda: 3) == 3
    with pytest.raises(KeyError, match="mine"):
        run_within(5, lambda: {}["mine"])

    def stubborn():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                time.sleep(0.01)
            except:  # noqa: E722 - as torch-pruning does
                if time.monotonic() > deadline - 59:
                    raise

    start = time.monotonic()
    with pytest.raises(TimeoutError):
        run_within(0.2, stubborn)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "distilbert"])
def test_adapters_name_the_same_coupled_slices_as_the_graph(family):
    """Heads and neurons against torch-pruning's dependency graph of the same model."""
    model = backbone(family, attn_implementation="eager")
    graph = tp.DependencyGraph().build_dependency(
        model, {"input_ids": torch.arange(6)[None] + 5}, verbose=False
    )
    groups = [g for name in ("heads", "neurons") for g in granularities.build(name).groups(model)]
    assert len(groups) == 6
    for group in groups:
        assert isinstance(group, SlicedGroup)
        for unit in (0, group.size - 1):
            first = group.slices[0]
            channels = first.positions(torch.tensor([unit]))
            traced = graph.get_pruning_group(first.module, tp.prune_linear_out_channels, channels.tolist())
            found = {(id(p.tensor), p.dim): set(p.places.tolist()) for p in pieces(traced)}
            named = {
                (id(s.tensor), s.dim): set(s.positions(torch.tensor([unit])).tolist()) for s in group.slices
            }
            assert found == named, (group.name, unit)
