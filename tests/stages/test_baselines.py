"""Baselines made of stages: two-stage exits (DeeBERT), exits weighted by depth (PABEE), no assistant."""

import json

import pytest
import torch
from families import backbone, batch
from tiny import TINY, apply, tiny_recipe
from torch.nn.functional import cross_entropy

from prunekit.checkpoints import load
from prunekit.distill import LiveTeacher
from prunekit.errors import RecipeError
from prunekit.exits import ExitsConfig, MultiExitForSequenceClassification
from prunekit.exits.heads.pooled import PooledHead
from prunekit.modes import frozen
from prunekit.planning import plan
from prunekit.stages.assistant import with_exits
from prunekit.stages.metrics import MetricsLog
from prunekit.stages.training.fit import Fitter
from prunekit.stages.training.objectives import Objective, but_last, predictions, truth

FAST = {"learning_rate": 1e-2, "epochs": 1}


def model(family="bert", seed=0, **options):
    torch.manual_seed(seed)
    own = {"num_labels": 3, "reads": "mean", **options}
    return MultiExitForSequenceClassification.from_backbone(backbone(family, seed), **own).eval()


def labelled(family="bert"):
    return batch() | {"labels": torch.tensor([0, 2, 1, 1, 0])}


def exit_losses(model, inputs):
    logits = model(**{k: v for k, v in inputs.items() if k != "labels"}, all_exits=True).exit_logits
    return [cross_entropy(at_exit, inputs["labels"]) for at_exit in logits]


# -- losses


def test_the_gradients_of_losses_weighted_by_layer_are_those_of_each_loss_by_hand():
    student, inputs = model(), labelled()
    parameters = [p for p in student.parameters() if p.requires_grad]
    weighted = [torch.zeros_like(p) for p in parameters]
    for i in (1, 2, 3):
        loss = exit_losses(student, inputs)[i - 1]
        for total, gradient in zip(
            weighted, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True
        ):
            if gradient is not None:
                total += i * gradient / (1 + 2 + 3)
    objective = Objective([truth(exit_weights="layer")])
    losses = [loss.item() for loss in exit_losses(student, inputs)]
    expected = sum(i * loss for i, loss in enumerate(losses, 1)) / 6
    assert objective(student, inputs).item() == pytest.approx(expected, rel=1e-6)
    found = torch.autograd.grad(objective(student, inputs), parameters, allow_unused=True)
    compared = 0
    for gradient, total in zip(found, weighted, strict=True):
        if gradient is not None:
            torch.testing.assert_close(gradient, total, rtol=1e-4, atol=1e-7)
            compared += int(total.abs().max() > 1e-6)
    assert compared > 20


def test_the_place_of_an_exit_counts_and_not_its_layer():
    student, inputs = model(exit_layers=[2, 3]), labelled()
    first, second = (loss.item() for loss in exit_losses(student, inputs))
    found = Objective([truth(exit_weights="layer")])(student, inputs).item()
    assert found == pytest.approx((first + 2 * second) / 3, rel=1e-6)


def test_all_exits_but_the_last_count():
    student, inputs, teacher = model(), labelled(), model(seed=1)
    expected = sum(exit_losses(student, inputs)[:-1])
    assert Objective([but_last(truth())])(student, inputs).item() == pytest.approx(expected.item(), rel=1e-6)
    whole = Objective([predictions(2.0)], LiveTeacher(teacher)).parts(student, inputs)["predictions"]
    part = Objective([but_last(predictions(2.0))], LiveTeacher(teacher)).parts(student, inputs)["predictions"]
    assert torch.equal(part, whole[:-1])


# -- modules that are not trained


@pytest.mark.parametrize("family", ["bert", "distilbert", "llama"])
def test_a_frozen_backbone_has_no_dropout_while_the_rest_is_trained(family):
    changes = {
        "bert": {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5},
        "distilbert": {"dropout": 0.5, "attention_dropout": 0.5},
        "llama": {"attention_dropout": 0.5},
    }[family]
    whole = MultiExitForSequenceClassification.from_backbone(backbone(family, **changes), num_labels=3)
    inputs = {k: v for k, v in batch().items() if k != "token_type_ids" or family == "bert"}

    def states():
        return torch.stack(whole(**inputs, all_exits=True, output_hidden_states=True).hidden_states)

    whole.train()
    assert not torch.equal(states(), states())
    with pytest.raises(RuntimeError), frozen([whole.backbone, whole.exits[-1]]):
        whole.train()
        assert whole.training and whole.exits[0].dropout.training
        assert not any(m.training for m in [*whole.backbone.modules(), *whole.exits[-1].modules()])
        assert torch.equal(states(), states())
        named = {name.split(".")[0] for name, p in whole.named_parameters() if p.requires_grad}
        assert named == {"exits"}
        raise RuntimeError
    assert all(p.requires_grad for p in whole.parameters()) and all(m.training for m in whole.modules())
    whole.eval()
    assert not any(m.training for m in whole.modules())
    whole.train()
    assert all(m.training for m in whole.modules())


# -- stages


@pytest.fixture
def fits(monkeypatch):
    """What each training run of a recipe minimises, a batch of it, and from which exits it began."""
    seen, fit = {}, Fitter.fit

    def spy(self, model, objective, *, phase, fixed=(), **options):
        began = {k: v.clone() for k, v in model.state_dict().items() if k.startswith("exits")}
        rows = next(self.batches(1, "spy"))
        seen[self.context.key, phase] = (objective, rows, (len(list(fixed)), began))
        return fit(self, model, objective, phase=phase, fixed=fixed, **options)

    monkeypatch.setattr(Fitter, "fit", spy)
    return seen


def weights(run, stage):
    return load(run / "stages" / stage / "model").state_dict()


def test_the_second_stage_leaves_backbone_and_last_exit_alone_to_the_bit(tmp_path, fits):
    run = apply(
        tmp_path,
        exits={"head": "pooled"},
        training={"weight_decay": 0.5},
        finetune={"epochs": 1},
        train_exits={**FAST, "copy_last_exit": True},
        stages=["finetune", "train_exits"],
    )
    before, after = weights(run, "1-finetune"), weights(run, "2-train_exits")
    last = {name: after[name.replace("exits.0", "exits.1")] for name in before}
    assert all(torch.equal(tensor, last[name]) for name, tensor in before.items())
    assert {name for name in before if name.startswith("exits")} == {
        "exits.0.dense.weight", "exits.0.dense.bias", "exits.0.classifier.weight", "exits.0.classifier.bias",
    }  # fmt: skip
    for name in ("exits.0.dense.weight", "exits.0.classifier.weight"):
        assert not torch.equal(after[name], before[name])
    objective, rows, (fixed, began) = fits["train_exits", "exits"]
    assert fixed == 2
    assert all(torch.equal(began[name], before[name.replace("exits.1", "exits.0")]) for name in began)
    trained = load(run / "stages/2-train_exits/model")
    rows = {k: v for k, v in rows.items() if k != "index"}
    expected = sum(exit_losses(trained, rows)[:-1]).item()
    assert objective(trained, rows).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("teacher", ["original", "assistant"])
def test_exits_on_a_backbone_that_stays_may_learn_from_a_teacher(tmp_path, fits, teacher):
    before = ["finetune", "assistant"] if teacher == "assistant" else ["finetune"]
    run = apply(
        tmp_path,
        finetune={"epochs": 0.5}, assistant={"epochs": 0.5},
        train_exits={**FAST, "ground_truth": 0.0, "predictions": 1.0, "teacher": teacher},
        stages=[*before, "train_exits"],
    )  # fmt: skip
    objective, rows, _ = fits["train_exits", "exits"]
    trained = load(run / f"stages/{len(before) + 1}-train_exits/model")
    taught = load(run / f"stages/{len(before)}-{before[-1]}/model")
    inputs = {k: v for k, v in rows.items() if k not in ("index", "labels")}
    said = trained(**inputs, all_exits=True).exit_logits[0].log_softmax(-1)
    target = taught(**inputs, all_exits=True).exit_logits[0].softmax(-1)
    assert list(objective.parts(trained, rows)) == ["predictions"]
    expected = -(target * said).sum(-1).mean()
    assert objective(trained, rows).item() == pytest.approx(expected.item(), rel=1e-4)


def assert_learns_from(fit, student, teacher, taught_by):
    """The student's exits learn from the teacher's at these places alone: soft cross-entropy by hand."""
    objective, rows, _ = fit
    inputs = {k: v for k, v in rows.items() if k not in ("index", "labels")}
    student, teacher = load(student / "model"), load(teacher / "model")
    for head in student.exits:
        # So sure that the loss tells teachers apart: after so short a training all say about a half.
        head.classifier.bias.data = torch.tensor([2.0, -2.0])
    said = student(**inputs, all_exits=True).exit_logits.log_softmax(-1)
    taught = teacher(**inputs, all_exits=True).exit_logits.softmax(-1)
    expected = [-(taught[place] * said[index]).sum(-1).mean().item() for index, place in enumerate(taught_by)]
    parts = objective.parts(student, rows)
    assert list(parts) == ["predictions"]
    assert parts["predictions"].tolist() == pytest.approx(expected, rel=1e-4)


TAUGHT = {"epochs": 0.5, "ground_truth": 0.0, "predictions": 1.0}


@pytest.mark.parametrize(("teacher_exit", "taught_by"), [("same", [0, 1]), ("final", [2, 2])])
def test_exits_learn_from_the_teachers_same_exits_or_its_last(tmp_path, fits, teacher_exit, taught_by):
    run = apply(
        tmp_path,
        model={"config": {**TINY["model"]["config"], "num_hidden_layers": 3}},
        finetune={"epochs": 0.5}, assistant={"epochs": 0.5},
        train_exits={**TAUGHT, "teacher": "assistant", "teacher_exit": teacher_exit},
        stages=["finetune", "assistant", "train_exits"],
    )  # fmt: skip
    student, teacher = run / "stages/3-train_exits", run / "stages/2-assistant"
    assert_learns_from(fits["train_exits", "exits"], student, teacher, taught_by)


def test_an_assistant_learns_from_the_last_exit_of_an_original_with_more(tmp_path, fits):
    joint = {"uses": "finetune", "exits": "recipe", "epochs": 0.5}
    run = apply(tmp_path, joint=joint, assistant=TAUGHT, stages=["joint", "assistant"])
    student, teacher = run / "stages/2-assistant", run / "stages/1-joint"
    assert_learns_from(fits["assistant", "train"], student, teacher, [1, 1])


@pytest.mark.parametrize(("made", "taught_by"), [({"student": {"layers": 1}}, [1]), ({}, [0, 1])])
def test_a_student_of_one_exit_learns_from_the_teachers_last(tmp_path, fits, made, taught_by):
    """Without the stage that makes one, the student has the assistant's exits: each learns from the same."""
    before = ["finetune", "assistant", *made]
    run = apply(
        tmp_path,
        finetune={"epochs": 0.5}, assistant={"epochs": 0.5},
        **made, distill={**TAUGHT, "teacher": "assistant"}, stages=[*before, "distill"],
    )  # fmt: skip
    student = run / f"stages/{len(before) + 1}-distill"
    assert_learns_from(fits["distill", "distill"], student, run / "stages/2-assistant", taught_by)


def test_without_a_teacher_none_is_needed_and_with_one_it_is():
    from prunekit.stages import registry

    kind = registry.get("train_exits")
    assert kind(kind.Config()).needs == ("model",)
    assert kind(kind.Config(predictions=1.0, teacher="assistant")).needs == ("model", "assistant")
    with pytest.raises(ValueError, match="nothing is left to learn"):
        kind.Config(ground_truth=0.0)


@pytest.mark.parametrize("layers", [[1], "last"])
def test_exits_that_do_not_end_with_the_models_last_are_refused(tmp_path, layers):
    recipe = tiny_recipe(
        tmp_path, exits={"layers": layers}, train_exits={}, stages=["finetune", "train_exits"]
    )
    with pytest.raises(RecipeError, match=r"exits\.layers.*last exit, on layer 2") as caught:
        plan(recipe)
    assert "end exits.layers with 2" in str(caught.value.mend)


def test_a_narrow_backbone_without_an_assistant_and_joint_exits_on_it(tmp_path, fits):
    run = apply(
        tmp_path,
        finetune={"epochs": 1},
        slenderize={"scorer": "taylor", "teacher": "original"},
        recover={"teacher": "original", "features_epochs": 0.5, "epochs": 0.5},
        joint={
            **FAST, "uses": "finetune", "start": "model", "exits": "recipe", "exit_weights": "layer",
            "gradient_equilibrium": False,
        },
        stages=["finetune", "slenderize", "recover", "joint"],
    )  # fmt: skip
    for stage in ("2-slenderize", "3-recover"):
        assert load(run / "stages" / stage / "model").config.exit_layers == [2]
    joint = load(run / "stages/4-joint/model")
    assert joint.config.exit_layers == [1, 2]
    assert joint.config.shape == load(run / "stages/3-recover/model").config.shape
    assert done(run, "4-joint") == {"model": "stages/4-joint/model"}
    objective, rows, (fixed, _) = fits["joint", "train"]
    rows = {k: v for k, v in rows.items() if k != "index"}
    first, second = (loss.item() for loss in exit_losses(joint, rows))
    assert objective(joint, rows).item() == pytest.approx((first + 2 * second) / 3, rel=1e-5)
    assert fixed == 0
    losses = {
        (r["stage"], r["phase"]): set(r["loss"])
        for r in MetricsLog(run / "metrics.jsonl").records(kind="train")
    }
    assert losses["recover", "predictions"] == {"features", "predictions"}


def done(run, stage):
    return json.loads((run / "stages" / stage / "done.json").read_text())["models"]


def test_a_joint_model_from_the_backbone_leaves_the_original_that_is_there(tmp_path):
    joint = {"uses": "finetune", "exits": "recipe", "epochs": 0.5}
    run = apply(tmp_path, finetune={"epochs": 0.5}, joint=joint, stages=["finetune", "joint"])
    assert set(done(run, "1-finetune")) == {"model", "original"}
    assert set(done(run, "2-joint")) == {"model"}
    alone = apply(tmp_path / "alone", joint=joint, stages=["joint"])
    assert set(done(alone, "1-joint")) == {"model", "original"}
    # Both begin with the same random backbone: nothing is taken from the model that is there.
    ours, theirs = weights(run, "2-joint"), weights(alone, "1-joint")
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_a_backbone_that_is_started_from_anew_is_whole_again(tmp_path):
    recipe = tiny_recipe(
        tmp_path,
        slenderize={"scorer": "taylor", "teacher": "original"},
        again={"uses": "finetune", "exits": "recipe"},
        stages=["finetune", "slenderize", "again"],
    )
    sizes = [[layer.heads for layer in stage.figures.layers] for stage in plan(recipe).stages]
    assert sizes == [[4, 4], [2, 2], [4, 4]]


def test_exits_of_the_same_kind_go_on_and_others_begin():
    old = model(head="linear")
    kept = {name: tensor.clone() for name, tensor in old.exits.state_dict().items()}
    same = with_exits(old, ExitsConfig(head="linear", reads="mean"), copy_last=False)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in same.exits.state_dict().items())
    torch.manual_seed(5)
    fewer = with_exits(same, ExitsConfig(layers=[2, 3], head="pooled", reads="mean"), copy_last=False)
    for place, name in enumerate(("1", "2")):
        assert torch.equal(fewer.exits[place].classifier.weight, kept[f"{name}.classifier.weight"])
        assert isinstance(fewer.exits[place], PooledHead)


# -- what decides a result


def inputs_of(recipe, key):
    return recipe.stage_class(key)(recipe.config(key)).inputs(recipe, key)


def test_the_dense_original_is_the_same_stage_for_every_kind_of_exits(tmp_path):
    linear = tiny_recipe(tmp_path)
    pooled = tiny_recipe(
        tmp_path,
        exits={"head": "pooled", "layers": [2]},
        finetune={"head": "linear", "exit_weights": "layer", "gradient_equilibrium": False},
        training={"eval_batch_size": 7, "threads": 1, "checkpoint_seconds": 5},
    )
    assert inputs_of(linear, "finetune") == inputs_of(pooled, "finetune")
    assert inputs_of(linear, "recover") == inputs_of(pooled, "recover")
    assert inputs_of(linear, "assistant") != inputs_of(pooled, "assistant")
    json.dumps(inputs_of(linear, "slenderize"))


@pytest.mark.parametrize(
    "change",
    [
        {"finetune": {"epochs": 3}}, {"finetune": {"exits": "recipe"}}, {"finetune": {"head": "pooled"}},
        {"exits": {"reads": "first"}}, {"exits": {"dropout": 0.5}}, {"seed": 8}, {"data": {"train_size": 99}},
        {"training": {"batch_size": 8}},
    ],
    ids=str,
)  # fmt: skip
def test_what_makes_another_original_is_told(tmp_path, change):
    assert inputs_of(tiny_recipe(tmp_path), "finetune") != inputs_of(
        tiny_recipe(tmp_path, **change), "finetune"
    )
