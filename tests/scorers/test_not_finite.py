"""Scores that are no numbers are refused by the scorer, which says of which group and unit they are."""

from __future__ import annotations

import math

import pytest
import torch
import torch_pruning as tp
from families import backbone
from pruning_toys import exit_losses, images, multi_exit_mlp, neuron_groups, small_cnn, token_batches
from torch import nn

from prunekit.errors import RecipeError, TrainingError
from prunekit.granularities import registry as granularities
from prunekit.pruner import Pruner
from prunekit.scorers import registry as scorers
from prunekit.scorers.base import Scorer

GRADIENT = ["taylor", "taylor_example", "taylor_published", "multi_exit_taylor"]


@pytest.mark.parametrize("name", ["magnitude", *GRADIENT])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers(name, value):
    model = multi_exit_mlp()
    with torch.no_grad():
        model.blocks[1].wide.weight[3, 0] = value
    with pytest.raises(TrainingError, match=r"blocks\.\d\.neurons"):
        scorers.build(name).score(model, neuron_groups(model), token_batches(), exit_losses)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_magnitude_names_group_and_unit(value):
    model = multi_exit_mlp()
    with torch.no_grad():
        model.blocks[2].wide.weight[5, 0] = value
    with pytest.raises(TrainingError, match=r"blocks\.2\.neurons is not finite: (nan|inf) for unit 5"):
        scorers.build("magnitude").score(model, neuron_groups(model))


def test_a_power_that_overflows():
    """Each weight is finite, and none of their thousandth powers is."""
    model = multi_exit_mlp()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(30.0)
    with pytest.raises(TrainingError, match=r"blocks\.0\.neurons is not finite: inf for unit 0"):
        scorers.build({"name": "magnitude", "p": 1000}).score(model, neuron_groups(model))


@pytest.mark.parametrize("name", GRADIENT)
def test_a_loss_that_is_no_number_names_what_has_no_importance(name):
    model = multi_exit_mlp()
    with pytest.raises(
        TrainingError, match=r"loss of batch 1 is nan, so blocks\.0\.neurons, .* 1 more group"
    ):
        scorers.build(name).score(
            model, neuron_groups(model), token_batches(), lambda m, b: exit_losses(m, b) * math.nan
        )


@pytest.mark.parametrize("name", ["taylor", "taylor_example", "taylor_published"])
def test_half_precision_that_overflows(name):
    """Activations of 60,000 times weights of 2,000: an infinite loss, which says what it leaves unranked."""
    model = nn.Sequential(nn.Linear(2, 4, bias=False), nn.Linear(4, 1, bias=False)).half()
    with torch.no_grad():
        model[0].weight.fill_(200.0)
        model[1].weight.fill_(2000.0)
    inputs = torch.full((3, 2), 150.0, dtype=torch.float16)
    groups = granularities.build({"name": "channels", "example_inputs": inputs}).groups(model)
    with pytest.raises(TrainingError, match=f"loss of batch 1 is inf, so {groups[0].name} has no importance"):
        scorers.build(name).score(model, groups, [inputs], lambda m, b: m(b).float().sum())


def test_products_that_overflow_in_half_precision():
    """Weight and gradient are float16 numbers, their product is none: the group is named."""
    model = nn.Sequential(nn.Linear(2, 4, bias=False), nn.Linear(4, 1, bias=False)).half()
    with torch.no_grad():
        model[0].weight.fill_(1e-4)
        model[1].weight.fill_(300.0)
    inputs = torch.full((30, 2), 60000.0, dtype=torch.float16)
    groups = granularities.build({"name": "channels", "example_inputs": inputs}).groups(model)
    with pytest.raises(TrainingError, match=f"importance of {groups[0].name} is not finite"):
        scorers.build("taylor_published").score(model, groups, [inputs], lambda m, b: m(b).float().mean())


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_an_embedding_that_is_no_number_has_no_ranks(family):
    model = backbone(family)
    [ranks] = granularities.build("rank").groups(model)
    with torch.no_grad():
        ranks.words.weight[4, 2] = math.nan
    for do in (ranks.intrinsic_importance, lambda: ranks.keep(torch.arange(4))):
        with pytest.raises(TrainingError, match=r"embeddings\.rank: the word embedding has weights"):
            do()


@pytest.mark.parametrize("name", ["magnitude", "taylor", "taylor_published"])
def test_inside_torch_pruning_the_layer_is_named(name):
    model = small_cnn()
    model(images()).sum().backward()
    with torch.no_grad():
        model.inner.weight[2] = math.nan
        model.outer.weight[:, 2] = math.nan
    graph = tp.DependencyGraph().build_dependency(model, example_inputs=images(1))
    group = graph.get_pruning_group(model.inner, tp.prune_conv_out_channels, idxs=list(range(10)))
    with pytest.raises(TrainingError, match=r"importance of inner.* is not finite"):
        scorers.build(name)(group)


def test_the_pruner_looks_at_what_any_scorer_gives():
    class Broken(Scorer):
        needs_data = False

        def score(self, model, groups, batches=(), loss=None):
            return {g.name: torch.full((g.size,), math.nan) for g in groups}

        def __call__(self, group, **kwargs):
            return None

    pruner = Pruner(backbone("bert"), ["heads"], Broken(), budget={"name": "ratio", "keep": 0.5})
    for do in (pruner.score, pruner.step):
        with pytest.raises(TrainingError, match=r"layers\.0\.heads is not finite: nan for unit 0"):
            do()
    assert all(g.size == g.initial_size for g in pruner.groups)


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        *[({"name": "magnitude", "p": p}, "magnitude.p") for p in ("2", None, math.nan, math.inf, -1, True)],
        ({"name": "magnitude", "p": [2]}, "magnitude.p"),
        *[({"name": "random", "seed": s}, "random.seed") for s in ("1", 1.5, None, True, [1])],
        ({"name": "taylor", "exits": ["last"]}, "taylor.exits"),
        ({"name": "taylor", "exits": None}, "taylor.exits"),
        ({"name": "taylor_example", "exits": 1}, "taylor_example.exits"),
        ({"name": "taylor_example", "loss_reduction": {}}, "taylor_example.loss_reduction"),
        ({"name": "taylor_published", "slices": 3}, "taylor_published.slices"),
        ({"name": "taylor", "gradient_equilibrium": "no"}, "taylor.gradient_equilibrium"),
        ({"name": "taylor_published", "gradient_equilibrium": 1}, "taylor_published.gradient_equilibrium"),
        ({"name": "multi_exit_taylor", "gradient_equilibrium": None}, "multi_exit_taylor.gradient_equil"),
    ],
)
def test_arguments_of_a_wrong_type_are_refused_by_name(spec, place):
    with pytest.raises(RecipeError, match=place.replace(".", r"\.")):
        scorers.build(spec)
