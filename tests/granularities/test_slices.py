"""Groups whose units lie anywhere in a dimension: rows are deleted, never moved, in any number of steps."""

from __future__ import annotations

import copy
import gc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.pytorch_utils import Conv1D

from prunekit.errors import PrunekitError, UnsupportedModelError
from prunekit.groups import Gate, Slice, SlicedGroup, check_groups
from prunekit.module_sizes import follow
from prunekit.scorers import registry as scorers


class Fused(nn.Module):
    """A matrix ``[rows, 3]`` with biases, and one that reads the rows."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.fused, self.reader = nn.Linear(3, rows), nn.Linear(rows, 2)

    def forward(self, x):
        return self.reader(torch.tanh(self.fused(x)))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_groups_side_by_side_own_any_positions(data):
    """Two groups with positions drawn at random, some owned by none, against lists of the original rows."""
    sizes = data.draw(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=2, max_size=2))
    owned = sum(size * width for size, width in sizes)
    rows = owned + data.draw(st.integers(0, 3))
    order = data.draw(st.permutations(range(rows)))
    model = Fused(rows)
    before, groups, units = copy.deepcopy(model), [], []
    for number, (size, width) in enumerate(sizes):
        index = torch.tensor(order[: size * width]).reshape(size, width)
        order = order[size * width :]
        slices = [
            Slice(model.fused, "weight", 0, index=index),
            Slice(model.fused, "bias", 0, width, index),
            Slice(model.reader, "weight", -1, index=index),
        ]
        gates = [Gate(model.reader, index=index)]
        groups.append(SlicedGroup(f"g{number}", "x", size, slices=slices, gates=gates))
        units.append(index.tolist())
    alive, inputs = list(range(rows)), torch.randn(5, 3)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, 1))
        kept = sorted(data.draw(st.sets(st.integers(0, groups[at].size - 1), min_size=1)))
        gone = {p for u, unit in enumerate(units[at]) if u not in kept for p in unit}
        units[at] = [units[at][k] for k in kept]
        alive = [row for row in alive if row not in gone]
        groups[at].keep(torch.tensor(kept))
        assert torch.equal(model.fused.weight, before.fused.weight[alive])
        assert torch.equal(model.fused.bias, before.fused.bias[alive])
        assert torch.equal(model.reader.weight, before.reader.weight[:, alive])
        assert model.fused.out_features == model.reader.in_features == len(alive)

    def loss(model, batch):
        return model(batch).square().mean()

    model.zero_grad()
    loss(model, inputs).backward()
    product = dict(zip(alive, (model.reader.weight * model.reader.weight.grad).sum(0).tolist(), strict=True))
    every = torch.cat([before.fused.weight.T, before.fused.bias[None], before.reader.weight])
    squares = every.detach().square().sum(0).tolist()
    taylor = scorers.build("taylor").score(model, groups, [inputs], loss)
    magnitude = scorers.build("magnitude").score(model, groups)
    for group, own in zip(groups, units, strict=True):
        expected = torch.tensor([abs(sum(product[p] for p in unit)) for unit in own])
        assert torch.allclose(taylor[group.name], expected, rtol=1e-4, atol=1e-6)
        expected = torch.tensor([sum(squares[p] for p in unit) ** 0.5 for unit in own])
        assert torch.allclose(magnitude[group.name], expected, rtol=1e-5)


@pytest.mark.parametrize("interleaved", [False, True])
def test_heads_of_a_fused_projection(interleaved):
    """Rows ``[all q, all k, all v]`` or ``[q0 k0 v0 q1 k1 v1 ...]``; a unit is a head of two rows each."""
    heads, width = 4, 2
    where = torch.arange(3 * heads * width)
    index = where.reshape(heads, 3 * width)
    if not interleaved:
        index = where.reshape(3, heads, width).transpose(0, 1).reshape(heads, 3 * width)
    model = Fused(3 * heads * width)
    before = model.fused.weight.detach().clone()
    group = SlicedGroup("heads", "x", heads, slices=[Slice(model.fused, "weight", 0, index=index)])
    assert group.unit_parameters == 3 * width * 3
    group.keep(torch.tensor([0, 2, 3]))
    group.keep(torch.tensor([1, 2]))
    assert torch.equal(model.fused.weight, before[index[[2, 3]].flatten().sort().values])


def test_halves_of_one_matrix_are_merged():
    """Gate and up, as two slices of one parameter, in two steps; rows that nobody owns stay."""
    model = Fused(9)
    before = model.fused.weight.detach().clone()
    up = torch.arange(4, 8)[:, None]
    group = SlicedGroup(
        "ffn", "x", 4, slices=[Slice(model.fused, "weight", 0), Slice(model.fused, "weight", 0, index=up)]
    )
    assert len(group.slices) == 1 and group.unit_parameters == 2 * 3
    group.keep(torch.tensor([0, 1, 3]))
    group.keep(torch.tensor([0, 2]))
    assert torch.equal(model.fused.weight, before[[0, 3, 4, 7, 8]])


def test_units_without_an_index_come_first_in_the_dimension():
    model = Fused(9)
    before = model.fused.weight.detach().clone()
    piece = Slice(model.fused, "weight", 0, 2)
    group = SlicedGroup("first", "x", 3, slices=[piece])
    sums = torch.stack([before[2 * u : 2 * u + 2].sum() for u in range(3)])
    assert torch.allclose(piece.per_unit(before, 3), sums, atol=1e-6)
    group.keep(torch.tensor([0, 2]))
    group.keep(torch.tensor([1]))
    assert torch.equal(model.fused.weight, before[[4, 5, 6, 7, 8]])


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_up = nn.Parameter(torch.randn(3, 8, 5))


def test_parameters_of_three_dimensions():
    model = Experts()
    before = model.gate_up.detach().clone()
    index = torch.arange(8).reshape(2, 4).T
    piece = Slice(model, "gate_up", 1, index=index)
    group = SlicedGroup("experts", "x", 4, slices=[piece])
    sums = torch.stack([before[:, [u, u + 4]].sum() for u in range(4)])
    assert torch.allclose(piece.per_unit(before, 4), sums, atol=1e-5)
    group.keep(torch.tensor([1, 2]))
    group.keep(torch.tensor([1]))
    assert torch.equal(model.gate_up, before[:, [2, 6]])


def halves(model):
    """The first three rows and the last three, in a group each."""
    return [
        SlicedGroup(str(i), "x", 3, slices=[Slice(model.fused, "weight", 0, index=index)])
        for i, index in enumerate(torch.arange(6).reshape(2, 3, 1))
    ]


def test_groups_that_are_copied_with_the_model_move_together():
    model = Fused(6)
    made = halves(model)
    twin, groups = copy.deepcopy((model, made))
    del made
    gc.collect()
    groups[0].keep(torch.tensor([1]))
    groups[1].keep(torch.tensor([0, 2]))
    assert torch.equal(twin.fused.weight, model.fused.weight[[1, 3, 5]])


def test_going_back_puts_all_groups_back():
    """A group's state is in its attributes, which are replaced and not changed."""
    model = Fused(6)
    groups = halves(model)
    weight, states = model.fused.weight, [dict(vars(g)) for g in groups]
    groups[0].keep(torch.tensor([2]))
    model.fused.weight, model.fused.out_features = weight, 6
    for group, state in zip(groups, states, strict=True):
        vars(group).update(state)
    groups[1].keep(torch.tensor([1]))
    groups[0].keep(torch.tensor([0, 1]))
    assert torch.equal(model.fused.weight, weight[[0, 1, 4]])


def test_what_cannot_go_together_is_refused():
    model = Fused(6)
    rows = [SlicedGroup(n, n, 6, slices=[Slice(model.fused, "weight", 0)]) for n in ("a", "b")]
    with pytest.raises(PrunekitError, match=r"a and b both own .* Linear\.weight \(6, 3\), dimension 0"):
        check_groups(model, rows)
    check_groups(model, [rows[0], SlicedGroup("c", "c", 3, slices=[Slice(model.fused, "weight", 1)])])
    model.reader = nn.Linear(3, 6)
    model.reader.weight = model.fused.weight
    with pytest.raises(UnsupportedModelError, match=r"one parameter with reader\.weight"):
        check_groups(model, rows[:1])
    rows[0].keep(torch.tensor([0, 1]))
    with pytest.raises(UnsupportedModelError, match="find the groups again"):
        rows[1].keep(torch.tensor([0, 1]))
    unlike = Slice(model.fused, "bias", 0, index=torch.tensor([[0], [2]]))
    with pytest.raises(ValueError, match="unlike numbers"):
        SlicedGroup("d", "d", 2, slices=[Slice(model.fused, "bias", 0), unlike])


MODULES = [
    (lambda n: nn.Linear(4, n), lambda n: nn.Linear(4, n), 0),
    (lambda n: nn.Linear(n, 4), lambda n: nn.Linear(n, 4), 1),
    (lambda n: Conv1D(n, 4), lambda n: Conv1D(n, 4), 1),
    (lambda n: nn.Conv2d(4, n, 3), lambda n: nn.Conv2d(4, n, 3), 0),
    (lambda n: nn.Conv1d(n, n, 3, groups=n), lambda n: nn.Conv1d(n, n, 3, groups=n), 0),
    (lambda n: nn.Conv2d(4, n, 3, groups=2), lambda n: nn.Conv2d(4, n, 3, groups=2), 0),
    (lambda n: nn.ConvTranspose2d(n, 5, 2), lambda n: nn.ConvTranspose2d(n, 5, 2), 0),
    (lambda n: nn.ConvTranspose2d(5, n, 2), lambda n: nn.ConvTranspose2d(5, n, 2), 1),
    (nn.BatchNorm1d, nn.BatchNorm1d, 0),
    (lambda n: nn.GroupNorm(2, n), lambda n: nn.GroupNorm(2, n), 0),
    (nn.LayerNorm, nn.LayerNorm, 0),
    (nn.RMSNorm, nn.RMSNorm, 0),
    (nn.PReLU, nn.PReLU, 0),
    (lambda n: nn.Embedding(7, n), lambda n: nn.Embedding(7, n), 1),
]


@pytest.mark.parametrize("make, again, dim", MODULES)
def test_written_sizes_follow_the_parameters(make, again, dim):
    """A cut module says of itself what a fresh one of that size says."""
    module, fresh = make(8), again(6)
    stays = torch.tensor([0, 1, 2, 4, 5, 6])
    module.weight = nn.Parameter(module.weight.detach().index_select(dim, stays))
    follow(module)
    follow(module)
    assert repr(module) == repr(fresh)
    plain = {k: v for k, v in vars(fresh).items() if isinstance(v, (int, tuple)) and not k.startswith("_")}
    assert {k: vars(module)[k] for k in plain} == plain
