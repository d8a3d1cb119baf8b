"""The stage calibrate in whole runs, and what is refused before them."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from tiny import apply, tiny_recipe

from prunekit import checkpoints
from prunekit.calibration import calibrate, guarantee_of
from prunekit.costs import exit_macs
from prunekit.errors import PrunekitError, RecipeError
from prunekit.exits.policies import sweep_of
from prunekit.planning import plan
from prunekit.reports import read_outputs, read_report
from prunekit.stages.outputs import outputs_of

STAGES = ["finetune", "assistant", "calibrate", "evaluate"]
DATA = {"calibration_size": 60}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What may be lost is so much that fast policies are safe."""
    return apply(
        tmp_path_factory.mktemp("calibrated"),
        data=DATA, stages=STAGES, calibrate={"max_drop": "40%", "confidence": "90%"},
    )  # fmt: skip


def test_the_policy_is_the_one_that_calibrating_finds(run):
    """Again from what the exits said, by the public function."""
    model = checkpoints.load(run / "model")
    said = read_outputs(run / "outputs", "calibration")
    assert said.logits.shape[1] == 60
    found = calibrate(
        said, sweep_of("entropy", 2, 2), exit_macs(model, said.lengths), max_drop=0.4, confidence=0.9
    )
    assert found.chosen is not None
    assert model.config.exit_policy == found.chosen.policy
    guarantee = guarantee_of(model.config)
    assert guarantee is not None
    assert guarantee["examples"] == 60
    assert guarantee["source"] == "calibration examples of reviews"
    assert guarantee["drop"] == found.chosen.drop
    assert "checkpoints" not in guarantee["words"]
    done = json.loads((run / "stages" / "3-calibrate" / "done.json").read_text())
    assert done["policy"] == found.chosen.policy
    assert done["guarantee"] == guarantee["words"]


def test_evaluate_reports_it_and_chooses_no_other(run):
    system = read_report(run / "report").systems[0]
    guarantee = guarantee_of(checkpoints.load(run / "model").config)
    assert system.evaluation.chosen is not None
    assert system.evaluation.chosen.policy == guarantee["policy"]
    assert system.guarantee == guarantee
    assert system.max_drop is None
    assert "60 calibration examples" in read_report(run / "report").task_note


def test_the_weights_are_those_before(run):
    before = checkpoints.load(run / "stages" / "2-assistant" / "model").state_dict()
    after = checkpoints.load(run / "model").state_dict()
    assert before.keys() == after.keys()
    assert all((before[name] == after[name]).all() for name in before)


def test_kept_outputs_are_those_of_the_model(run, tmp_path):
    kept = outputs_of(run, "calibration")
    (run / "outputs" / "calibration.safetensors").rename(tmp_path / "aside")
    try:
        again = outputs_of(run, "calibration")
    finally:
        (tmp_path / "aside").rename(run / "outputs" / "calibration.safetensors")
    np.testing.assert_allclose(kept.logits, again.logits, atol=1e-5)
    assert kept.digest == again.digest
    assert (kept.labels == again.labels).all()


def test_nothing_can_be_shown_by_few_examples(tmp_path, caplog):
    """All layers, then, and a word on why; the validation examples served."""
    with caplog.at_level(logging.WARNING, "prunekit"):
        run = apply(tmp_path, stages=STAGES, calibrate={"max_drop": 0.001})
    assert "takes 2995 examples at least" in caplog.text
    model = checkpoints.load(run / "model")
    assert model.config.exit_policy is None
    guarantee = guarantee_of(model.config)
    assert guarantee["policy"] is None
    assert guarantee["source"] == "validation examples of reviews"
    system = read_report(run / "report").systems[0]
    assert system.evaluation.chosen.policy is None
    assert system.evaluation.chosen.all.scores == system.evaluation.all_layers.all.scores


def test_training_ends_a_guarantee(tmp_path):
    """It was shown of the weights before."""
    recover = {"features_epochs": 0.2, "epochs": 0.5, "features_learning_rate": 1e-3, "learning_rate": 1e-3}
    run = apply(
        tmp_path, stages=["finetune", "assistant", "calibrate", "recover", "evaluate"],
        calibrate={"max_drop": 0.3, "confidence": 0.8}, recover=recover,
    )  # fmt: skip
    calibrated = checkpoints.load(run / "stages" / "3-calibrate" / "model")
    assert guarantee_of(calibrated.config) is not None
    assert "checkpoints" in calibrated.config.exit_guarantee["words"]
    assert (
        "not the guarantee it would be on examples that nothing has seen"
        in (calibrated.config.exit_guarantee["words"])
    )
    assert checkpoints.load(run / "model").config.exit_guarantee is None
    assert read_report(run / "report").systems[0].guarantee is None


def test_another_policy_ends_a_guarantee(run):
    model = checkpoints.load(run / "model")
    model.set_exit_policy(dict(model.config.exit_policy))
    assert model.config.exit_guarantee is not None
    model.set_exit_policy("patience")
    assert model.config.exit_guarantee is None


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"calibrate": {"metric": "f1"}}, "mean over examples"),
        ({"calibrate": {"max_drop": 1}}, "1%"),
        ({"calibrate": {"confidence": "95"}}, "95%"),
        ({"calibrate": {"confidence": "0.95%"}}, "did you mean 95%"),
        ({"calibrate": {"confidence": 0}}, "write 95%"),
        ({"calibrate": {"policy": "entropie"}}, "entropy"),
        ({"calibrate": {"policy": "learned"}}, "learn_to_exit"),
        ({"calibrate": {"policies": [{"name": "entropy", "threshold": ["x"]}]}}, "policies"),
        ({"data": {"metrics": ["matthews"]}}, "matthews"),
        ({"data": {"calibration_size": 298}}, "299"),
        ({"exits": {"layers": "last"}}, "one exit"),
    ],
)
def test_what_is_refused_before_any_compute(tmp_path, changes, word):
    with pytest.raises(PrunekitError, match=word):
        plan(tiny_recipe(tmp_path, **{"stages": STAGES, "calibrate": {}} | changes))


@pytest.mark.parametrize("policies", [["patience"], ["entropy", {"name": "confidence", "threshold": 0.9}]])
def test_policies_are_read_as_evaluate_reads_them(tmp_path, policies):
    """A name is its sweep, a mapping one policy; the order is as it was given."""
    recipe = tiny_recipe(
        tmp_path, stages=STAGES, calibrate={"policies": policies}, evaluate={"policies": policies}
    )
    found = [recipe.config(key).sweep(4, 2) for key in ("calibrate", "evaluate")]
    assert found[0] == found[1]
    assert len(found[0]) > len(policies)


@pytest.mark.parametrize("stage", ["calibrate", "evaluate"])
@pytest.mark.parametrize(
    ("policy", "word"),
    [
        ({"name": "confidence", "threshold": {}}, r"confidence\.threshold"),
        ({"name": "entropy", "threshold": [0.1, 0.2, 0.3]}, r"3 thresholds, but the model 2 exits"),
        ({"name": "patience", "patience": 1.5}, r"patience\.patience"),
        ({"name": "patience", "margin": "abc"}, r"patience\.margin"),
    ],
)
def test_arguments_of_policies_are_refused_by_their_key(tmp_path, stage, policy, word):
    stages = [name for name in STAGES if name in (stage, "finetune", "assistant", "evaluate")]
    changes = {"stages": stages, stage: {"policies": [policy]}}
    with pytest.raises(RecipeError, match=rf"(?s){stage}\.policies.*{word}"):
        plan(tiny_recipe(tmp_path, **changes))


@pytest.mark.parametrize("threshold", ["a", True, float("nan"), None])
def test_thresholds_are_refused_by_their_key(tmp_path, threshold):
    with pytest.raises(RecipeError, match=r"evaluate"):
        tiny_recipe(tmp_path, evaluate={"thresholds": [0.1, threshold]})
