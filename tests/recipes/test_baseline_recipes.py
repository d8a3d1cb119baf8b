"""DeeBERT and PABEE as recipes: their sizes, their training, what they share, and that they run."""

from __future__ import annotations

import json

import pytest

from prunekit.checkpoints import load
from prunekit.planning import plan
from prunekit.recipes import load_recipe
from prunekit.reports import read_report
from prunekit.runs import Run
from prunekit.stages import run_recipe

NAMES = ["deebert", "deebert-slender", "pabee", "pabee-slender"]
TINY = [
    "model.config={num_hidden_layers: 3, hidden_size: 16, num_attention_heads: 2, intermediate_size: 16}",
    "data.train_size=64",
    "data.validation_size=32",
    "data.test_size=32",
    "training.batch_size=16",
    "finetune.epochs=0.5",
]
TINY_OF = {
    "slenderize": ["neurons=8", "rank=8", "interval_epochs=0.25", "score_batches=1"],
    "recover": ["features_epochs=0.25", "epochs=0.5"],
    "stage_one": ["epochs=0.5"],
    "train_exits": ["epochs=0.5"],
    "joint": ["epochs=0.5"],
}


def epochs(name):
    return sum(work.epochs * work.times for stage in plan(load_recipe(name)).stages for work in stage.works)


@pytest.mark.parametrize("name", NAMES)
def test_a_baseline_trains_for_as_many_epochs_as_the_method(name):
    assert epochs(name) == epochs("costeff") == 27.5


@pytest.mark.parametrize(
    ("name", "width", "millions"),
    [("deebert", 256, 18.22), ("pabee", 256, 17.43), ("deebert", 512, 56.88), ("pabee", 512, 53.73)],
)
def test_on_a_narrow_bert_a_baseline_has_the_published_size(tmp_path, name, width, millions):
    sizes = {
        "model_type": "bert", "vocab_size": 30522, "max_position_embeddings": 512, "pad_token_id": 0,
        "num_hidden_layers": 12, "hidden_size": width, "num_attention_heads": width // 64,
        "intermediate_size": 4 * width,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    figures = plan(load_recipe(name, [f"model.name={tmp_path}"])).stages[-1].figures
    # By hand: embeddings and their norm, 12 layers of 4 (W x W + W), 2 x 4W x W + 5W and 4W of norms, exits.
    body = (30522 + 512 + 2) * width + 2 * width + 12 * (12 * width**2 + 13 * width)
    exits = 12 * (2 * width + 2) + (12 * (width**2 + width) if name == "deebert" else 0)
    assert figures.parameters == body + exits
    assert abs(figures.parameters / 1e6 - millions) < 0.0051


def test_both_slender_baselines_stand_on_the_same_backbone():
    def prefix(name):
        recipe = load_recipe(name)
        keys = recipe.stages[:3]
        return [recipe.stage_class(key)(recipe.config(key)).inputs(recipe, key) for key in keys]

    deebert, pabee = prefix("deebert-slender"), prefix("pabee-slender")
    assert [stage["key"] for stage in deebert] == ["finetune", "slenderize", "recover"]
    assert deebert == pabee
    recipe = load_recipe("costeff")
    assert deebert[0] == recipe.stage_class("finetune")(recipe.config("finetune")).inputs(recipe, "finetune")


def test_slender_baselines_have_the_layers_of_the_method():
    wanted = plan(load_recipe("costeff")).stages[-1].figures
    for name in ("deebert-slender", "pabee-slender"):
        figures = plan(load_recipe(name)).stages[-1].figures
        assert [(la.heads, la.neurons) for la in figures.layers] == [
            (la.heads, la.neurons) for la in wanted.layers
        ]
        assert figures.embedding_rank == wanted.embedding_rank
        # What differs are DeeBERT's poolers.
        poolers = 6 * (128 * 128 + 128) if name.startswith("deebert") else 0
        assert figures.parameters == wanted.parameters + poolers


@pytest.mark.parametrize("name", NAMES)
def test_it_runs(tmp_path, name):
    stages = load_recipe(name).stages
    own = [f"{key}.{setting}" for key in stages for setting in TINY_OF.get(key, [])]
    recipe = load_recipe(name, [f"output={tmp_path}", *TINY, *own])
    with Run(recipe) as run:
        run_recipe(recipe, run)
    model = load(run.model_folder)
    assert model.config.exit_layers == [1, 2, 3]
    assert model.config.exit_head == ("pooled" if name.startswith("deebert") else "linear")
    report = read_report(run.report_folder)
    policies = {point.policy["name"] for point in report.systems[0].evaluation.points}
    assert policies == {"entropy" if name.startswith("deebert") else "patience"}
    assert load(run.folder / "stages/1-finetune/model").config.exit_layers == [3]
