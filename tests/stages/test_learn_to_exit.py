"""A layer that learns whether exits are right, on a model that stays as it is."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tiny import apply, tiny_recipe

from prunekit.checkpoints import load
from prunekit.errors import RecipeError
from prunekit.exits import MultiExitOutput
from prunekit.planning import plan
from prunekit.reports import read_report
from prunekit.stages.metrics import MetricsLog
from prunekit.stages.outputs import outputs_of
from prunekit.stages.training.objectives import certainty

STAGES = {
    "stages": ["finetune", "joint", "learn_to_exit", "evaluate"],
    "joint": {"uses": "finetune", "exits": "recipe", "epochs": 2, "learning_rate": 1e-3},
    "learn_to_exit": {"epochs": 4, "learning_rate": 0.05},
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


def test_it_learns(run):
    losses = [
        r["loss"]["certainty"] for r in MetricsLog(run / "metrics.jsonl").records("learn_to_exit", "train")
    ]
    assert losses[-1] < losses[0]
    told = json.loads((run / "stages/3-learn_to_exit/done.json").read_text())
    said = outputs_of(run, "validation")
    right = said.logits.argmax(axis=2) == said.labels
    assert told["certainty_error"] == pytest.approx(float(((said.certainty - right) ** 2).mean()), abs=1e-5)
    assert told["constant_error"] == pytest.approx(
        float(np.mean([np.var(row) for row in right.astype(float)])), abs=1e-5
    )
    assert told["certainty_error"] < 0.25  # of whoever says 0.5


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
    logits = torch.tensor([[[2.0, 1.0], [0.0, 1.0]], [[0.0, 3.0], [0.0, 1.0]]])
    sure = torch.tensor([[0.5, 0.75], [1.0, 0.0]])
    batch = {"labels": torch.tensor([0, 0])}
    loss = certainty().loss(MultiExitOutput(exit_logits=logits, exit_certainty=sure), None, batch)
    # Right and wrong at the first exit, wrong twice at the second.
    assert loss.tolist() == pytest.approx([(0.25 + 0.5625) / 2, (1.0 + 0.0) / 2])


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
