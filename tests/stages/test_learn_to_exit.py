"""A layer that learns whether exits are right, on a model that stays as it is."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tiny import apply, tiny_recipe

from prunekit.checkpoints import load
from prunekit.errors import RecipeError
from prunekit.exits.certainty import ExitCertainty
from prunekit.planning import plan
from prunekit.reports import read_report
from prunekit.stages.learn_to_exit import certainty_loss, fit_certainty
from prunekit.stages.outputs import outputs_of

STAGES = {
    "stages": ["finetune", "joint", "learn_to_exit", "evaluate"],
    "joint": {"uses": "finetune", "exits": "recipe", "epochs": 2, "learning_rate": 1e-3},
    "evaluate": {"policy": "learned"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return apply(tmp_path_factory.mktemp("learned"), **STAGES)


def test_only_the_certainty_is_trained(run):
    before, after = (load(run / "stages" / s / "model") for s in ("2-joint", "3-learn_to_exit"))
    old, new = before.state_dict(), after.state_dict()
    assert set(new) - set(old) == {"certainty.linear.weight", "certainty.linear.bias"}
    assert all(torch.equal(tensor, new[name]) for name, tensor in old.items())
    assert new["certainty.linear.weight"].abs().max() > 0.01
    assert after.config.exit_certainty and not before.config.exit_certainty
    assert all(parameter.requires_grad for parameter in after.parameters())


def test_it_stands_at_the_minimum_of_its_loss(run):
    """No gradient is left, at the training examples that the model saw; and it says how good that is."""
    said, model = outputs_of(run, "train"), load(run / "stages/3-learn_to_exit/model")
    right = torch.from_numpy(said.logits.argmax(axis=2) == said.labels).float()
    at_minimum = float(certainty_loss(torch.from_numpy(said.certainty), right))
    shares = right.mean(dim=1, keepdim=True)
    constant = float(certainty_loss(shares.expand_as(right), right))
    weights = float(model.certainty.linear.weight.detach().square().sum())
    assert at_minimum + 1e-3 * weights < constant + 1e-4  # of a layer that knows the exits' accuracy at best
    told = json.loads((run / "stages/3-learn_to_exit/done.json").read_text())
    said = outputs_of(run, "validation")
    right = said.logits.argmax(axis=2) == said.labels
    assert told["certainty_error"] == pytest.approx(float(((said.certainty - right) ** 2).mean()), abs=1e-5)
    assert told["constant_error"] == pytest.approx(np.mean([np.var(row * 1.0) for row in right]), abs=1e-5)


@pytest.mark.parametrize("penalty", [1e-3, 0.1])
def test_the_fit_has_no_gradient_left_and_no_better_neighbour(penalty):
    generator = torch.Generator().manual_seed(0)
    read = torch.randn(3, 400, 5, generator=generator)
    hidden = torch.tensor([1.0, -2.0, 0.0, 0.5, 0.0])
    right = (torch.rand(3, 400, generator=generator) < torch.sigmoid(read @ hidden + 1)).float()
    layer = ExitCertainty(5)

    def value(weight, bias):
        sure = 1 / (1 + torch.exp(-(read.double() @ weight + bias)))
        return float(((sure - right) ** 2).mean(dim=1).sum() + penalty * (weight**2).sum())

    assert value(torch.zeros(5).double(), 0.0) == pytest.approx(0.25 * 3)
    assert fit_certainty(layer, read, right, penalty) > 3
    weight, bias = layer.linear.weight[0].detach().double(), float(layer.linear.bias.detach())
    best = value(weight, bias)
    for index in range(5):
        step = torch.zeros(5).double()
        step[index] = 0.01
        assert best < value(weight + step, bias) and best < value(weight - step, bias)
    assert best < value(weight, bias + 0.01) and best < value(weight, bias - 0.01)
    if penalty < 0.01:
        assert torch.cosine_similarity(weight, hidden.double(), dim=0) > 0.95
    assert all(parameter.grad is None for parameter in layer.parameters())


def test_exits_that_are_always_right_leave_it_sure():
    layer = ExitCertainty(4)
    fit_certainty(
        layer, torch.randn(2, 50, 4, generator=torch.Generator().manual_seed(1)), torch.ones(2, 50), 1e-3
    )
    assert layer(torch.zeros(4)) > 0.95
    with pytest.raises(ValueError, match="nan"):
        fit_certainty(layer, torch.full((2, 50, 4), torch.nan), torch.ones(2, 50), 1e-3)


def test_it_learns_from_so_many_examples_alike(tmp_path):
    """The same weights when it is applied again; others from fewer examples."""

    def weights(name, **settings):
        folder = apply(
            tmp_path / name,
            stages=["finetune", "learn_to_exit"],
            finetune={"exits": "recipe", "epochs": 0.2},
            learn_to_exit=settings,
        )
        return load(folder / "stages/2-learn_to_exit/model").certainty.linear.weight

    first = weights("first", examples=40)
    assert torch.equal(first, weights("again", examples=40))
    assert not torch.allclose(first, weights("more"))


def test_the_model_leaves_as_the_report_says(run):
    said = outputs_of(run, "test")
    assert said.certainty.shape == (2, 30) and said.certainty.min() >= 0 and said.certainty.max() <= 1
    system = read_report(run / "report").systems[0]
    evaluation, validation = system.evaluation, system.validation
    assert len(evaluation.points) == len(validation.points) > 40
    for point in evaluation.points:
        early = said.certainty[0] > point.policy["threshold"]
        assert point.policy["name"] == "learned"
        assert point.exit_shares[0] == pytest.approx(early.mean())
        predicted = np.where(early, said.logits[0].argmax(axis=1), said.logits[1].argmax(axis=1))
        assert point.all.scores["accuracy"] == pytest.approx((predicted == said.labels).mean())
    assert load(run / "model").config.exit_policy == evaluation.chosen.policy


def test_its_loss_by_hand():
    sure = torch.tensor([[0.5, 0.75], [1.0, 0.0]])
    right = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    expected = (0.25 + 0.5625) / 2 + (1.0 + 0.0) / 2
    assert float(certainty_loss(sure, right)) == pytest.approx(expected)


def test_what_has_one_exit_is_refused_before_any_training(tmp_path):
    changes = {**STAGES, "stages": ["finetune", "learn_to_exit", "evaluate"]}
    with pytest.raises(RecipeError, match="one exit, on layer 2"):
        plan(tiny_recipe(tmp_path, **changes), vocab_size=50)


def test_the_policy_is_refused_where_exits_do_not_say_how_sure_they_are(tmp_path):
    changes = {**STAGES, "stages": ["finetune", "joint", "evaluate"]}
    with pytest.raises(RecipeError, match=r"evaluate\.policy.*'learned'.*\n.*learn_to_exit"):
        plan(tiny_recipe(tmp_path, **changes), vocab_size=50)
    # Other exits do not say it either.
    changes = {**STAGES, "stages": ["finetune", "joint", "learn_to_exit", "assistant", "evaluate"]}
    with pytest.raises(RecipeError, match=r"evaluate\.policy"):
        plan(tiny_recipe(tmp_path, **changes), vocab_size=50)
