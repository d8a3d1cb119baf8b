"""From files to a validated recipe, and every way in which that can fail."""
# ruff: noqa: E501 - one mistake a line

import re

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prunekit import recipes
from prunekit.errors import RecipeError
from prunekit.recipes import json_schema, load_recipe, recipe_from_mapping


def test_a_recipe_with_defaults(folder):
    recipe = load_recipe("base.yaml")
    assert (recipe.name, recipe.seed, recipe.output) == ("the-base", 42, "runs")
    assert recipe.stages == ["warm", "slim"]
    assert recipe.config("warm").epochs == 3 and recipe.config("warm").learning_rate == 2e-5
    assert recipe.config("slim").heads == 4
    assert recipe.stage_class("slim").__name__ == "Slim"
    assert recipe.notes == []


def test_overrides_and_the_place_they_come_from(folder):
    recipe = load_recipe("base.yaml", ["warm.learning_rate=1e-5", "seed=7"])
    assert (recipe.config("warm").learning_rate, recipe.seed) == (1e-5, 7)
    assert recipe.location("warm", "learning_rate") == "command line: warm.learning_rate"
    assert recipe.location("warm", "epochs") == "base.yaml:9:3: warm.epochs"
    assert recipe.location("training", "threads") == "base.yaml: training.threads"


def test_a_stage_without_settings_gets_its_defaults(folder):
    (folder / "r.yaml").write_text("model: {}\nstages: [warm, slim]\nslim:\n")
    recipe = load_recipe("r.yaml")
    assert recipe.config("warm").epochs == 2 and recipe.config("slim").heads == 2
    assert recipe.name == "r"


def test_extends_merges_over_the_base_from_another_folder(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "mine.yaml").write_text("extends: ../base.yaml\nslim:\n  heads: 6\n")
    (folder / "sub" / "grand.yaml").write_text("extends: mine.yaml\nwarm:\n  mode: mean\n")
    recipe = load_recipe("sub/grand.yaml")
    assert (recipe.config("slim").heads, recipe.config("warm").epochs, recipe.config("warm").mode) == (
        6,
        3,
        "mean",
    )
    assert recipe.name == "grand" and recipe.description == ""
    assert recipe.location("slim", "heads") == "sub/mine.yaml:3:3: slim.heads"
    assert recipe.location("warm", "epochs") == "base.yaml:9:3: warm.epochs"


def test_a_stage_twice_under_names_of_its_own(folder):
    (folder / "r.yaml").write_text(
        "model: {}\nstages: [warm, again]\nwarm: {epochs: 1}\nagain: {uses: warm, epochs: 5}\n"
    )
    recipe = load_recipe("r.yaml")
    assert recipe.config("again").epochs == 5 and recipe.stage_class("again").__name__ == "Warm"
    assert recipe.resolved()["again"]["uses"] == "warm"
    assert recipe_from_mapping(recipe.resolved()).resolved() == recipe.resolved()


def test_settings_of_a_stage_that_does_not_run_are_checked_and_noted(folder):
    recipe = load_recipe("base.yaml", ["stages=[warm]"])
    assert recipe.notes == ["base.yaml:10:1: slim: has no effect, the stage is not in stages"]
    assert "slim" not in recipe.resolved()
    with pytest.raises(RecipeError, match=re.escape("command line: slim.heds: unknown key")):
        load_recipe("base.yaml", ["stages=[warm]", "slim.heds=3"])


def bad(folder, old, new):
    text = (folder / "base.yaml").read_text()
    assert old in text
    (folder / "bad.yaml").write_text(text.replace(old, new))
    with pytest.raises(RecipeError) as caught:
        load_recipe("bad.yaml")
    return caught.value


@pytest.mark.parametrize(
    ("old", "new", "message", "mend"),
    [
        ("heads: 4", "head: 4", "bad.yaml:11:3: slim.head: unknown key", "did you mean 'heads'?"),
        ("warm:\n", "wram:\n", "bad.yaml:8:1: wram: unknown key", "did you mean 'warm'?"),
        ("task:", "tasks:", "bad.yaml:6:3: data.tasks: unknown key", "did you mean 'task'?"),
        ("epochs: 3", "epochs: many", "bad.yaml:9:3: warm.epochs: expected a number, found 'many'", None),
        ("epochs: 3", "epochs: [3]", "bad.yaml:9:3: warm.epochs: expected a number, found a list", None),
        ("epochs: 3", "epochs: 0", "bad.yaml:9:3: warm.epochs: expected greater than 0, found 0", None),
        ("epochs: 3", "epochs:", "bad.yaml:9:3: warm.epochs: expected a number, found null", None),
        ("epochs: 3", "mode: last", "bad.yaml:9:3: warm.mode: expected 'first' or 'mean', found 'last'", None),
        ("heads: 4", "heads: few", "slim.heads: expected an integer or 'all', found 'few'", None),
        ("heads: 4", "layers: [1, x]", "bad.yaml:11:15: slim.layers.1: expected an integer, found 'x'", None),
        ("  epochs: 3", "  3", "bad.yaml:8:1: warm: expected a mapping (key: value), found 3", None),
        ("name: taylor}", "name: tailor}", "bad.yaml:12:3: slim.scorer: unknown scorer 'tailor'", "did you mean 'taylor'"),
        ("name: the-base", "name: ../up", "bad.yaml:1:1: name: ", None),
        ("model:\n  name: builtin:small-encoder\n", "", "bad.yaml: model: this key is required and missing", None),
        ("stages: [warm, slim]", "stages: []", "bad.yaml:7:1: stages: expected at least 1, found 0", None),
        ("stages: [warm, slim]", "stages: [warm, [slim]]", "bad.yaml:7:16: stages.1: expected a string, found a list", None),
        ("epochs: 3", "epochs: 1e400", "bad.yaml:9:3: warm.epochs: expected a finite number, found inf", None),
        ("epochs: 3", "epochs: .nan", "bad.yaml:9:3: warm.epochs: expected a finite number, found nan", None),
        ("heads: 4", "heads: 4.5", "bad.yaml:11:3: slim.heads: expected an integer or 'all', found 4.5", None),
        ("  task: reviews", "  3", "bad.yaml:5:1: data: expected a mapping (key: value), found 3", None),
        ("stages: [warm, slim]", "stages: warm", "bad.yaml:7:1: stages: expected a list, found 'warm'", None),
        ("stages: [warm, slim]", "stages: [warm, 3]", "bad.yaml:7:16: stages.1: expected a string, found 3", None),
        ("stages: [warm, slim]", "stages: [wram]", "bad.yaml:7:10: stages.0: unknown stage 'wram'", "did you mean 'warm'?"),
        ("stages: [warm, slim]", "stages: [slim]", "bad.yaml:7:10: stages.0: slim needs the original model", "warm"),
        ("epochs: 3", "uses: wrm", "bad.yaml:9:3: warm.uses: unknown stage 'wrm'", "did you mean 'warm'"),
        ("epochs: 3", "uses: 3", "bad.yaml:9:3: warm.uses: expected the name of a stage, found 3", None),
        ("warm:\n", "Warm-Up:\n  uses: warm\n", "bad.yaml:9:3: Warm-Up.uses: a stage cannot be called", None),
    ],
)  # fmt: skip
def test_every_mistake_is_named_with_its_place_and_its_mend(folder, old, new, message, mend):
    error = bad(folder, old, new)
    assert message in error.message
    assert "\n" not in error.message
    if mend:
        assert mend in error.mend


def test_all_mistakes_are_listed_at_once(folder):
    (folder / "bad.yaml").write_text("extends: base.yaml\nseed: -1\nwarm:\n  epoch: 3\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe("bad.yaml", ["slim.heads=few"])
    lines = caught.value.message.splitlines()
    assert {line.split(": ")[0] for line in lines} == {"bad.yaml:2:1", "bad.yaml:4:3", "command line"}
    assert sum("did you mean 'epochs'" in line for line in lines) == 1


def test_extends_that_go_nowhere(folder):
    for text, part in [
        ("extends: none.yaml\n", "bad.yaml:1:1: extends: there is no file none.yaml"),
        ("x: 1\nextends: 3\n", "bad.yaml:2:1: extends: expected the path of one recipe, found 3"),
        ("extends: bad.yaml\n", "bad.yaml: extends itself: bad.yaml -> bad.yaml"),
        ("extends: other.yaml\n", "extends itself: bad.yaml -> other.yaml -> bad.yaml"),
        ("extends: broken.yaml\n", "broken.yaml:1:5: not valid YAML"),
    ]:
        (folder / "bad.yaml").write_text(text)
        (folder / "other.yaml").write_text("extends: bad.yaml\n")
        (folder / "broken.yaml").write_text("a: b: c\n")
        with pytest.raises(RecipeError, match=re.escape(part)):
            load_recipe("bad.yaml")


def test_a_recipe_that_is_not_there_is_a_folder_or_is_no_text(folder):
    with pytest.raises(RecipeError, match="there is no recipe 'nonesuch'") as caught:
        load_recipe("nonesuch")
    assert "costeff" in caught.value.mend
    with pytest.raises(RecipeError, match="the shipped recipe is called 'costeff'"):
        load_recipe("recipes/costeff.yaml")
    (folder / "dir").mkdir()
    with pytest.raises(RecipeError, match="dir is a folder"):
        load_recipe("dir")
    (folder / "dir" / "recipe.yaml").touch()
    with pytest.raises(RecipeError) as caught:
        load_recipe("dir")
    assert caught.value.mend == "give dir/recipe.yaml"
    (folder / "costeff").mkdir()
    assert load_recipe("costeff").name == "costeff"
    (folder / "latin.yaml").write_bytes("name: caf\xe9\n".encode("latin-1"))
    with pytest.raises(RecipeError, match=r"latin.yaml: not UTF-8 text \(byte 9\)"):
        load_recipe("latin.yaml")


def test_shipped_recipes_go_by_bare_name_and_can_be_extended_from_anywhere(folder, monkeypatch):
    shipped = folder / "shipped"
    shipped.mkdir()
    (folder / "base.yaml").rename(shipped / "standard.yaml")
    monkeypatch.setattr("prunekit.shipped._folder", lambda: shipped)
    assert load_recipe("standard").config("slim").heads == 4
    assert load_recipe("standard.yaml").name == "the-base"
    (folder / "mine.yaml").write_text("extends: standard\nslim: {heads: 1}\n")
    assert load_recipe("mine.yaml").config("slim").heads == 1
    # A file of one's own goes before a shipped recipe of the same name.
    (folder / "standard.yaml").write_text("extends: mine.yaml\nslim: {heads: 9}\n")
    assert load_recipe("standard.yaml").config("slim").heads == 9


def test_the_resolved_recipe_is_plain_yaml_that_reloads_identically(folder):
    recipe = load_recipe("base.yaml", ["warm.learning_rate=1e-5"])
    (folder / "resolved.yaml").write_text(recipe.to_yaml())
    again = load_recipe("resolved.yaml")
    assert again.resolved() == recipe.resolved()
    assert again.to_yaml() == recipe.to_yaml()
    assert {"seed", "training", "data", "exits", "warm", "slim"} <= set(yaml.safe_load(recipe.to_yaml()))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    epochs=st.floats(1e-9, 1e9),
    rate=st.floats(1e-12, 1),
    mode=st.sampled_from(["first", "mean"]),
    heads=st.integers(1, 64) | st.just("all"),
    layers=st.lists(st.integers(1, 99), max_size=4),
    description=st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30),
    name=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,10}\Z"),
)
def test_resolving_and_reloading_changes_nothing(
    stages, seed, epochs, rate, mode, heads, layers, description, name
):
    data = {
        "name": name,
        "description": description,
        "seed": seed,
        "model": {},
        "stages": ["warm", "slim"],
        "warm": {"epochs": epochs, "learning_rate": rate, "mode": mode},
        "slim": {"heads": heads, "layers": layers},
    }
    recipe = recipe_from_mapping(data)
    assert recipe.config("warm").learning_rate == rate and recipe.config("slim").heads == heads
    text = recipe.to_yaml()
    again = recipe_from_mapping(recipes.source.parse(text, "x").data)
    assert again.to_yaml() == text


def test_the_json_schema_knows_the_stages(folder):
    schema = json_schema()
    assert {"extends", "model", "stages", "warm", "slim"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False
    assert "heads" in schema["$defs"]["SlimConfig"]["properties"]


@pytest.mark.parametrize(("written", "read"), [("1%", 0.01), ("0.01", 0.01), (0.01, 0.01), (0, 0), ("0%", 0)])
def test_what_may_be_lost_is_written_alike_everywhere(written, read):
    stages = ["finetune", "assistant", "calibrate", "evaluate"]
    data = {"name": "mine", "model": {"name": "builtin:small-encoder"}, "stages": stages}
    parts = {key: {"max_drop": written} for key in ("calibrate", "evaluate") if read or key == "evaluate"}
    recipe = recipe_from_mapping({**data, **parts})
    assert all(recipe.config(key).max_drop == read for key in parts)


@pytest.mark.parametrize("written", ["many", True, 1, "1", -0.1, "100%", float("nan"), [0.1]])
@pytest.mark.parametrize("key", ["calibrate", "evaluate"])
def test_what_may_be_lost_is_a_share(written, key):
    stages = ["finetune", "assistant", "calibrate", "evaluate"]
    data = {"name": "mine", "model": {"name": "builtin:small-encoder"}, "stages": stages}
    with pytest.raises(RecipeError, match=rf"{key}\.max_drop"):
        recipe_from_mapping({**data, key: {"max_drop": written}})
