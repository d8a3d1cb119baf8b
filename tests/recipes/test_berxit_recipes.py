"""BERxiT style as recipes: training length, what they share, and that they run."""

from __future__ import annotations

import pytest

from prunekit.checkpoints import load
from prunekit.planning import plan
from prunekit.recipes import load_recipe
from prunekit.reports import read_report
from prunekit.runs import Run
from prunekit.stages import run_recipe

NAMES = ["berxit", "berxit-slender"]
TINY = [
    "model.config={num_hidden_layers: 3, hidden_size: 16, num_attention_heads: 2, intermediate_size: 16}",
    "data.train_size=64",
    "data.validation_size=32",
    "data.test_size=32",
    "training.batch_size=16",
    "finetune.epochs=0.5",
    "joint.epochs=0.5",
]
SLENDER = [
    "slenderize.neurons=8",
    "slenderize.rank=8",
    "slenderize.interval_epochs=0.25",
    "slenderize.score_batches=1",
    "recover.features_epochs=0.25",
    "recover.epochs=0.5",
]


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_for_as_many_epochs_as_the_method(name):
    stages = plan(load_recipe(name)).stages
    assert sum(work.epochs * work.times for stage in stages for work in stage.works) == pytest.approx(20.8)


def test_the_slender_one_stands_on_the_backbone_of_the_others():
    prefixes = []
    for name in ("berxit-slender", "pabee-slender"):
        recipe = load_recipe(name)
        keys = recipe.stages[:3]
        prefixes.append([recipe.stage_class(key)(recipe.config(key)).inputs(recipe, key) for key in keys])
    assert prefixes[0] == prefixes[1]
    assert [stage["key"] for stage in prefixes[0]] == ["finetune", "slenderize", "recover"]


def test_it_is_as_large_as_the_method_but_for_one_layer():
    wanted, found = (plan(load_recipe(n)).stages[-1].figures for n in ("costeff", "berxit-slender"))
    assert found.parameters == wanted.parameters + 128 + 1
    assert found.macs == wanted.macs + 6 * 128


@pytest.mark.parametrize("name", NAMES)
def test_it_runs(tmp_path, name):
    overrides = [f"output={tmp_path}", *TINY, *(SLENDER if name == "berxit-slender" else [])]
    recipe = load_recipe(name, overrides)
    with Run(recipe) as run:
        run_recipe(recipe, run)
    model = load(run.model_folder)
    assert model.config.exit_layers == [1, 2, 3] and model.config.exit_certainty
    report = read_report(run.report_folder)
    assert {point.policy["name"] for point in report.systems[0].evaluation.points} == {"learned"}
    assert {path.name for path in (run.folder / "outputs").iterdir()} == {
        "validation.safetensors",
        "test.safetensors",
    }
