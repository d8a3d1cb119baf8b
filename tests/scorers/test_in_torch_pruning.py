"""Every scorer as the importance of torch-pruning's own pruner."""

from __future__ import annotations

import copy

import pytest
import torch
import torch_pruning as tp
from pruning_toys import images, small_cnn
from torch import nn
from torch.nn.functional import cross_entropy

from prunekit.errors import TrainingError
from prunekit.granularities.channels import Channels
from prunekit.scorers import registry as scorers

LABELS = torch.tensor([0, 2, 1, 0])
IN_PRUNER = ["magnitude", "random", "taylor", "taylor_published", "multi_exit_taylor"]


def loss(model, batch):
    return cross_entropy(model(batch), LABELS)


def with_gradients():
    model = small_cnn()
    loss(model, images()).backward()
    return model


def all_groups(model):
    graph = tp.DependencyGraph().build_dependency(model, images(1))
    return list(graph.get_all_groups(ignored_layers=[model.head]))


@pytest.mark.parametrize("pruner_class", [tp.pruner.MetaPruner, tp.pruner.BasePruner])
@pytest.mark.parametrize("global_pruning", [False, True])
@pytest.mark.parametrize("name", IN_PRUNER)
def test_scorers_work_in_torch_prunings_pruner(name, global_pruning, pruner_class):
    model = with_gradients()
    before = sum(p.numel() for p in model.parameters())
    pruner = pruner_class(
        model,
        images(1),
        importance=scorers.build(name),
        pruning_ratio=0.5,
        global_pruning=global_pruning,
        ignored_layers=[model.head],
    )
    pruner.step()
    assert sum(p.numel() for p in model.parameters()) < before
    assert model(images()).shape == (4, 3)
    if not global_pruning:
        widths = (model.stem.out_channels, model.inner.out_channels, model.hidden.out_features)
        assert widths == (3, 5, 6)


@pytest.mark.parametrize("name", ["magnitude", "taylor", "taylor_published"])
def test_torch_pruning_drops_what_the_score_ranks_lowest(name):
    """The channels that the pruner removes are the least by sums over named slices of the weights."""
    model = with_gradients()
    reference = copy.deepcopy(model)
    for parameter, source in zip(reference.parameters(), model.parameters(), strict=True):
        parameter.grad = source.grad.clone()
    scores = brute_force(name, reference)
    tp.pruner.MetaPruner(
        model, images(1), scorers.build(name), pruning_ratio=0.5, ignored_layers=[model.head]
    ).step()
    kept = scores["inner"].argsort(descending=True)[:5].sort().values
    assert torch.equal(model.inner_norm.running_mean, reference.inner_norm.running_mean[kept])
    kept = scores["stem"].argsort(descending=True)[:3].sort().values
    assert torch.equal(model.stem_norm.running_mean, reference.stem_norm.running_mean[kept])
    kept = scores["hidden"].argsort(descending=True)[:6].sort().values
    assert torch.equal(model.hidden.bias, reference.hidden.bias[kept])


def brute_force(name, model):
    """Scores by slices written out by hand: (rows, columns) of every layer that shares the channels."""
    if name == "magnitude":

        def term(w, grad):
            return w.square()
    elif name == "taylor":

        def term(w, grad):
            return w * grad
    else:

        def term(w, grad):
            return (w * grad).abs()

    def value(parameter, channel_dim):
        product = term(parameter.detach(), parameter.grad)
        return product.movedim(channel_dim, 0).flatten(1).sum(1) if product.dim() > 1 else product

    flat = nn.Parameter(model.hidden.weight.detach().reshape(12, 6, 16))
    flat.grad = model.hidden.weight.grad.reshape(12, 6, 16)
    columns = {
        "inner": [(model.outer.weight, 1)],
        "stem": [(model.inner.weight, 1), (flat, 1)],
        "hidden": [(model.head.weight, 1)],
    }
    rows = {
        "inner": [(model.inner.weight, 0)],
        "stem": [(model.stem.weight, 0), (model.outer.weight, 0)],
        "hidden": [(model.hidden.weight, 0)],
    }
    vectors = {
        "inner": [model.inner.bias, model.inner_norm.weight, model.inner_norm.bias],
        "stem": [
            *(model.stem.bias, model.stem_norm.weight, model.stem_norm.bias),
            *(model.outer.bias, model.outer_norm.weight, model.outer_norm.bias),
        ],
        "hidden": [model.hidden.bias],
    }
    scores = {}
    for key in columns:
        chosen = list(columns[key])
        if name != "taylor":
            chosen += rows[key]
        if name == "magnitude":
            chosen += [(v, 0) for v in vectors[key]]
        total = sum(value(p, d) for p, d in chosen)
        scores[key] = total.sqrt() if name == "magnitude" else total.abs()
    return scores


@pytest.mark.parametrize("name", ["magnitude", "taylor", "taylor_published"])
def test_call_equals_score_on_channels(name):
    """What torch-pruning is told equals what ``score`` finds at gates, or in slices, of ``channels``."""
    model = with_gradients()
    called = {
        group._DG._module2name[group[0].dep.target.module]: scorers.build(name)(group)
        for group in all_groups(model)
    }
    called["stem"] = called.pop("outer")  # torch-pruning starts from behind; the channels are the same
    groups = Channels(images(1)).groups(model)
    scored = scorers.build(name).score(model, groups, [images()], loss)
    assert set(called) == set(scored) and len(called) == 3
    for key, value in scored.items():
        assert torch.allclose(called[key], value, rtol=1e-4, atol=1e-7), key


@pytest.mark.parametrize("name", ["magnitude", "taylor"])
def test_part_of_a_group_is_scored_in_its_order(name):
    model = with_gradients()
    graph = tp.DependencyGraph().build_dependency(model, images(1))
    prune = tp.prune_conv_out_channels
    whole = scorers.build(name)(graph.get_pruning_group(model.stem, prune, list(range(6))))
    part = scorers.build(name)(graph.get_pruning_group(model.stem, prune, [4, 1]))
    assert torch.allclose(part, whole[[4, 1]])


def test_scorers_that_need_gradients_say_so():
    group = all_groups(small_cnn())[0]
    for name in ("taylor", "taylor_published", "multi_exit_taylor"):
        with pytest.raises(TrainingError, match=r"has no \.grad"):
            scorers.build(name)(group)
    with pytest.raises(TrainingError, match="already summed"):
        scorers.build("taylor_example")(group)


class Concatenated(nn.Module):
    """Two branches that a third layer reads side by side, and one of them once more."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 6, 1)
        self.join, self.again, self.head = nn.Conv2d(10, 5, 1), nn.Conv2d(16, 5, 1), nn.Linear(5, 3)

    def forward(self, x):
        left, right = torch.relu(self.left(x)), torch.relu(self.right(x))
        twice = self.again(torch.cat([right, left, right], 1))
        return self.head(torch.relu(self.join(torch.cat([left, right], 1)) + twice).mean((2, 3)))


@pytest.mark.parametrize("name", ["magnitude", "taylor", "taylor_published"])
def test_concatenated_channels_by_hand(name):
    """Also after torch-pruning has pruned once."""
    torch.manual_seed(0)
    model = Concatenated().eval()
    graph = tp.DependencyGraph().build_dependency(model, images(1))
    for _ in range(2):
        model.zero_grad()
        loss(model, images()).backward()
        a, b = model.left.out_channels, model.right.out_channels
        owned = {
            model.left: [(model.join, slice(0, a)), (model.again, slice(b, b + a))],
            model.right: [
                (model.join, slice(a, a + b)),
                (model.again, slice(0, b)),
                (model.again, slice(b + a, b + a + b)),
            ],
        }
        for layer, reads in owned.items():
            every = list(range(layer.out_channels))
            group = graph.get_pruning_group(layer, tp.prune_conv_out_channels, every)
            total = sum(_products(name, m.weight)[:, columns].sum((0, 2, 3)) for m, columns in reads)
            if name != "taylor":
                total = total + _products(name, layer.weight).sum((1, 2, 3))
            if name == "magnitude":
                total = (total + layer.bias.square()).sqrt()
            found = scorers.build(name)(group)
            assert torch.allclose(found, total.detach().abs(), rtol=1e-4, atol=1e-7)
        graph.get_pruning_group(model.right, tp.prune_conv_out_channels, [0, 3]).prune()


def _products(name, weight):
    if name == "magnitude":
        return weight.square()
    product = weight * weight.grad
    return product if name == "taylor" else product.abs()
