"""Losses of somebody's own beside the built-in ones, in a recipe."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tiny import apply, tiny_recipe

from prunekit.distill import LiveTeacher, Loss
from prunekit.distill.losses.predictions import Predictions
from prunekit.errors import RecipeError
from prunekit.planning import plan
from prunekit.stages.further_losses import further_terms
from prunekit.stages.training.objectives import Objective, truth
from prunekit.testing import small_batches, small_model


class Agree(Loss):
    """Distance of each exit's probabilities to the last exit's."""

    needs_teacher = False

    def __init__(self, power=2.0):
        self.power = power

    def __call__(self, output, taught, batch):
        said = output.exit_logits.float().softmax(-1)
        return (said - said[-1:]).abs().pow(self.power).sum(-1).mean(-1)


class Norms(Loss):
    """Squared difference of the layers' mean token norms."""

    label = "norms"
    unit = "layer"
    first = 0
    needs_hidden_states = True

    def __call__(self, output, taught, batch):
        weights = batch["attention_mask"].float() / batch["attention_mask"].sum()

        def norms(states):
            return torch.stack([(state.float().norm(dim=-1) * weights).sum() for state in states])

        return (norms(output.hidden_states) - norms(taught.hidden_states)).square()


class Sharper(Predictions):
    """Has its parent's label."""


class Weighted(Agree):
    """Its argument would be taken for the term's weight."""

    label = "weighted"

    def __init__(self, weight=1.0):
        super().__init__(weight)


class Broken(Agree):
    """Cannot be made."""

    def __init__(self):
        raise OSError("no such file: table")


MINE = [{"name": f"{__name__}:Agree", "power": 1, "weight": 0.5}, f"{__name__}:Norms"]


def test_they_are_weighed_and_added():
    student, teacher, batch = small_model(1), small_model(2), small_batches(1)[0]
    terms = further_terms(MINE, since=0.5)
    parts = Objective([truth(2.0), *terms], LiveTeacher(teacher)).parts(student, batch)
    assert list(parts) == ["ground truth", "Agree", "norms"]
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        own, theirs = (m(**inputs, all_exits=True, output_hidden_states=True) for m in (student, teacher))
    said = own.exit_logits.softmax(-1)
    for exit_, value in enumerate(parts["Agree"].tolist()):
        gaps = [sum(abs(p - q) for p, q in zip(row, last, strict=True))
                for row, last in zip(said[exit_].tolist(), said[-1].tolist(), strict=True)]  # fmt: skip
        assert value == pytest.approx(0.5 * sum(gaps) / len(gaps), abs=1e-6)
    mask = inputs["attention_mask"].bool()
    gaps = [(s[mask].norm(dim=-1).mean() - t[mask].norm(dim=-1).mean()).item() ** 2
            for s, t in zip(own.hidden_states, theirs.hidden_states, strict=True)]  # fmt: skip
    assert parts["norms"].tolist() == pytest.approx(gaps, rel=1e-3)
    # What is counted by exit waits for its part of the run, what is counted by layer does not.
    early = Objective([truth(), *terms], LiveTeacher(teacher)).parts(student, batch, progress=0.2)
    assert list(early) == ["ground truth", "norms"]


def said_in(run, stage):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["stage"] == stage and line["kind"] == "train"]


def test_they_teach_in_a_recipe(tmp_path):
    stages = ["finetune", "assistant", "recover", "evaluate"]
    losses = {"without": [], "nothing": [{"name": MINE[1], "weight": 0}], "with": MINE}
    runs = {n: apply(tmp_path / n, stages=stages, recover={"losses": own}) for n, own in losses.items()}
    by_phase = {line["phase"]: set(line["loss"]) for line in said_in(runs["with"], "recover")}
    assert by_phase["features"] == {"features", "norms"}
    assert by_phase["predictions"] == {"features", "predictions", "Agree", "norms"}
    without, nothing, taught = (load_file(run / "model" / "model.safetensors") for run in runs.values())
    assert all(torch.equal(without[name], nothing[name]) for name in without)
    assert any(not torch.equal(without[name], taught[name]) for name in without)


@pytest.mark.parametrize("stage", ["assistant", "slenderize"])
def test_other_stages_take_them_too(tmp_path, stage):
    stages = ["finetune", "assistant", *([stage] if stage != "assistant" else []), "evaluate"]
    run = apply(tmp_path, stages=stages, **{stage: {"losses": [MINE[0]]}})
    assert any("Agree" in line["loss"] for line in said_in(run, stage))


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        (["agre"], "unknown loss 'agre'"),
        ([{"name": MINE[1], "wight": 1}], "has no argument 'wight'"),
        ([{"name": MINE[1], "weight": -1}], "the weight of a loss is a number from 0 on, not -1"),
        ([{"weight": 1}], "a loss is a name, a mapping with 'name'"),
        (["features"], "features has a key of its own here"),
        (["hidden"], "hidden is of the stage distill"),
        (["prunekit.distill.losses.features:Features"], "features has a key of its own here"),
        ([MINE[1], MINE[1]], "norms is the name of another one"),
        ([f"{__name__}:Sharper"], "predictions is the name of another one"),
        ([f"{__name__}:Weighted"], "has an argument 'weight', which is that of the term"),
        ([f"{__name__}:Broken"], "cannot be made with these arguments: no such file: table"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, losses, words):
    with pytest.raises(RecipeError, match=words):
        tiny_recipe(tmp_path, recover={"losses": losses}).config("recover")


def test_alone_they_are_enough(tmp_path):
    nothing = {"features": 0, "predictions": 0, "features_epochs": 0}
    assert tiny_recipe(tmp_path, recover={**nothing, "losses": [MINE[0]]}).config("recover").losses
    for losses in ([], [{"name": MINE[1], "weight": 0}]):
        with pytest.raises(RecipeError, match="nothing is left to learn"):
            tiny_recipe(tmp_path, recover={**nothing, "losses": losses}).config("recover")


def test_exits_alone_learn_from_what_is_counted_by_exit(tmp_path):
    config = tiny_recipe(tmp_path, recover={"losses": MINE, "trains": "exits"}).config("recover")
    terms = config.last_objective(LiveTeacher(small_model())).terms
    assert [term.name for term in terms] == ["predictions", "Agree"]
    nothing = {"predictions": 0, "trains": "exits"}
    assert tiny_recipe(tmp_path, recover={**nothing, "losses": [MINE[0]]}).config("recover").epochs
    with pytest.raises(RecipeError, match="exits alone learn from"):
        tiny_recipe(tmp_path, recover={**nothing, "losses": [MINE[1]]}).config("recover")


def test_layers_that_cannot_be_compared_are_refused_before_any_compute(tmp_path):
    with pytest.raises(RecipeError, match="here use hidden"):
        tiny_recipe(
            tmp_path, stages=["finetune", "student", "distill", "evaluate"], student={"layers": 1},
            distill={"losses": ["features"]},
        ).config("distill")  # fmt: skip
    for assistant in ({"losses": ["features"]}, {"features_first_epochs": 1}):
        recipe = tiny_recipe(
            tmp_path, stages=["finetune", "assistant", "evaluate"], exits={"layers": [1]}, assistant=assistant
        )
        with pytest.raises(RecipeError, match="exits end at layer 1, and the original has 2"):
            plan(recipe)


def test_the_assistants_first_epochs_learn_what_is_counted_by_layer(tmp_path):
    run = apply(
        tmp_path, stages=["finetune", "assistant", "evaluate"],
        assistant={"losses": MINE, "features_first_epochs": 1},
    )  # fmt: skip
    by_phase = {line["phase"]: set(line["loss"]) for line in said_in(run, "assistant")}
    assert by_phase["features"] == {"features", "norms"}
    assert by_phase["train"] == {"ground truth", "predictions", "Agree", "norms"}


def test_the_best_epoch_is_kept_where_exits_learn(tmp_path):
    stages = ["finetune", "student", "distill", "evaluate"]
    for losses, judges in (([], False), ([MINE[0]], True), ([MINE[1]], False)):
        distill = {"predictions": 0, "hidden": 1, "losses": losses}
        recipe = tiny_recipe(tmp_path, stages=stages, student={"layers": 1}, distill=distill)
        assert recipe.config("distill").judges is judges
