"""DeeBERT and PABEE as recipes: their sizes, their training, what they share, and that they run."""

from __future__ import annotations

import json

import pytest

from prunekit.checkpoints import load
from prunekit.errors import RecipeError
from prunekit.planning import plan
from prunekit.recipes import expand, load_recipe
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


def epochs_of(recipe):
    return sum(work.epochs * work.times for stage in plan(recipe).stages for work in stage.works)


def epochs(name):
    return epochs_of(load_recipe(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_baseline_trains_for_as_many_epochs_as_the_method(name):
    assert epochs(name) == pytest.approx(20.8) == epochs("costeff")


SIX_HEADS = [
    "model={name: builtin:small-encoder, config: {num_hidden_layers: 3, hidden_size: 24, "
    "num_attention_heads: 6, intermediate_size: 128}}",
    "data.task=reviews",
    "slenderize.neurons=16",
    "slenderize.rank=8",
    "compare.systems.pabee.slenderize={rank: 8}",
]
OTHERWISE = [
    [],
    ["assistant.epochs=4", "finetune.epochs=4", "recover.epochs=5", "recover.features_epochs=12"],
    ["assistant.epochs=6", "assistant.features_first_epochs=1", "slenderize.steps=20"],
    ["slenderize.scheduler=cubic", "slenderize.interval_epochs=0.6", "slenderize.heads=3"],
]


@pytest.mark.parametrize("overrides", OTHERWISE, ids=" ".join)
@pytest.mark.parametrize("name", ["costeff", "compare-8x-minilm"])
def test_a_comparison_is_of_equal_training_length_whatever_is_changed(name, overrides):
    systems = "compare.systems.berxit={extends: berxit-slender}"
    sizes = SIX_HEADS if name == "compare-8x-minilm" else []
    runs = expand(load_recipe(name, [*sizes, *overrides, systems]))
    recipes = {run.system: run.candidates[0].recipe for run in runs}
    own, *others = (epochs_of(recipe) for recipe in recipes.values())
    assert others == pytest.approx([own] * 3)
    one = recipes.pop(name)
    for recipe in recipes.values():
        theirs, ours = recipe.config("slenderize"), one.config("slenderize")
        assert (theirs.scorer, theirs.teacher) == ("taylor", "original")
        for key in set(type(ours).model_fields) - {"scorer", "teacher"}:
            assert getattr(theirs, key) == getattr(ours, key), key


SHIPPED = [
    *("deebert", "deebert-slender", "pabee", "pabee-slender", "berxit", "berxit-slender"),
    *("elasticbert", "tinybert", "distilbert", "small-bert"),
]


def rates_of(recipe):
    configs = {key: recipe.config(key) for key in recipe.stages}
    return {key: config.learning_rate for key, config in configs.items() if hasattr(config, "learning_rate")}


def test_in_a_comparison_a_baseline_learns_at_rates_that_go_by_the_models():
    """As its recipe alone where the model's rates are those of costeff; a tenth where they are a tenth."""
    slower = ["finetune.learning_rate=5e-5", "assistant.learning_rate=3e-5"]
    slower += ["slenderize.learning_rate=3e-5", "recover.learning_rate=3e-5"]
    for overrides, factor in ([], 1.0), (slower, 0.1):
        runs = expand(load_recipe("costeff", [*overrides, f"compare={{systems: {json.dumps(SHIPPED)}}}"]))
        for run in runs[1:]:
            alone = rates_of(load_recipe(run.system))
            compared = rates_of(run.candidates[0].recipe)
            assert compared == pytest.approx({key: factor * rate for key, rate in alone.items()}), run.system


@pytest.mark.parametrize(
    "overrides", [[], ["assistant.epochs=6", "recover.epochs=5", "recover.features_epochs=9"]]
)
def test_ablations_train_for_as_many_epochs_whatever_is_changed(overrides):
    runs = expand(load_recipe("ablations", overrides))
    own, *others = (epochs_of(run.candidates[0].recipe) for run in runs)
    assert others == pytest.approx([own] * len(others)) and len(others) > 8


@pytest.mark.parametrize("name", ["deebert", "deebert-slender", "pabee", "elasticbert", "tinybert"])
def test_a_baseline_stands_on_the_dense_model_of_the_comparison(name):
    runs = expand(load_recipe("costeff", ["finetune.epochs=3", f"compare={{systems: [{name}]}}"]))
    made = []
    for run in runs:
        recipe = run.candidates[0].recipe
        made.append(recipe.stage_class("finetune")(recipe.config("finetune")).inputs(recipe, "finetune"))
    assert made[0] == made[1]
    if name == "deebert":
        other = runs[1].candidates[0].recipe
        assert (other.config("stage_one").epochs, other.config("stage_one").head) == (6, "pooled")


@pytest.mark.parametrize(("stages", "head"), [("train_exits", "pooled"), ("joint", "linear")])
def test_exits_on_the_dense_model_itself_are_made_like_its_own(tmp_path, stages, head):
    (tmp_path / "one.yaml").write_text(
        f"model: {{}}\nexits: {{head: pooled}}\nstages: [finetune, {stages}, evaluate]\n"
        "joint: {uses: finetune, exits: recipe}\n"
    )
    recipe = load_recipe("costeff", [f"compare={{systems: [{tmp_path}/one.yaml]}}"])
    one = expand(recipe)[1].candidates[0].recipe
    assert (one.config("finetune").head, one.exits.head) == (head, "pooled")


def test_the_shared_dense_model_is_not_tuned_by_one_system():
    grid = "compare.systems.pabee.grid={finetune.learning_rate: [1e-4, 5e-4]}"
    with pytest.raises(
        RecipeError, match=r"grid: finetune.learning_rate: the dense model .* \(system pabee\)"
    ):
        expand(load_recipe("costeff", [grid]))
    grid = "compare.systems.pabee.grid={joint.learning_rate: [1e-4, 5e-4]}"
    assert len(expand(load_recipe("costeff", [grid]))[2].candidates) == 2


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
