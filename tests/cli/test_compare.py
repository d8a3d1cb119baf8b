"""prunekit compare, and what apply and plan say of comparisons."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from calling import TINY

from prunekit.reports import read_report
from prunekit.reports.reproducing import commands

MINE = """\
extends: costeff
stages: [finetune, assistant, evaluate]
evaluate: {thresholds: [0.2, 0.6]}
compare: {systems: {hot: {label: Hot one, assistant: {temperature: 4}}}}
"""
SMALL = [setting for setting in TINY if not setting.startswith(("slenderize", "recover", "compare"))]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with ``mine.yaml`` and its finished runs: two seeds, and one on other examples."""
    from prunekit import cli, console

    folder = tmp_path_factory.mktemp("made")
    (folder / "mine.yaml").write_text(MINE)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        console.setup(console.Verbosity.QUIET)
        for name, *changes in (
            ("mine-1", "seed=1", "data.seed=1"),
            ("mine-2", "seed=2", "data.seed=1", "compare=null"),
            ("else", "seed=1", "data.seed=5", "compare=null"),
        ):
            assert cli.run(["apply", "mine.yaml", *SMALL, *changes, "--name", name]) == 0
    return folder


@pytest.fixture
def here(made, prunekit, tmp_path):
    """``prunekit`` in a copy of that folder."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return prunekit


def comparison_in(folder):
    return json.loads((folder / "report.json").read_text())["comparison"]


def test_apply_compares_and_says_it_all(here, made):
    compared = comparison_in(made / "runs" / "mine-1" / "report")
    assert [(s["name"], s["label"]) for s in compared["systems"]] == [
        ("mine-1", "mine-1"),
        ("hot", "Hot one"),
    ]
    assert comparison_in(made / "runs" / "mine-2" / "report") is None
    said = here("apply", "mine.yaml", *SMALL, "seed=1", "data.seed=1", "--name", "mine-1")
    assert said.code == 0 and "runs/mine-1 is finished" in said.err
    assert re.search(r"^  Hot one +[\d,]+ ", said.out, re.MULTILINE)
    assert "begins" not in said.err


def test_apply_says_which_run_it_is_at_and_how_many_are_left(here):
    said = here(
        "apply", "mine.yaml", *SMALL, "seed=1", "data.seed=1", "compare.seeds=[1, 3]", "--name", "mine-1"
    )
    assert said.code == 0, said.err
    assert "4 runs are compared or tried, 2 of them are to be trained" in said.err
    assert "run 3 of 4: mine-1, seed 3; 1 left after it" in said.err
    assert "hot, seed 3: finetune is that of runs/mine-1/compare/own-3" in said.err
    assert "hot, seed 3, assistant: begins" in said.err
    assert comparison_in_seeds("runs/mine-1/report") == [1, 3]


def test_apply_trains_side_by_side(here):
    arguments = ["apply", "mine.yaml", *SMALL, "seed=1", "data.seed=1", "compare.seeds=[1, 3]"]
    said = here(*arguments, "--name", "mine-1", "--jobs", "2")
    assert said.code == 0, said.err
    assert "2 processes train side by side, one thread each" in said.err
    assert comparison_in_seeds("runs/mine-1/report") == [1, 3]
    assert said.err.count("seed 3, finetune: begins") == 1
    assert not list(Path("runs").rglob(".claims"))
    said = here(*arguments, "--name", "mine-1", "--jobs", "0")
    assert said.code == 2 and "--jobs" in said.err


def comparison_in_seeds(folder):
    return comparison_in(Path(folder))["tasks"][0]["seeds"]


def test_compare_a_finished_run_with_what_its_recipe_asks_for(here, tmp_path):
    shutil.rmtree("runs/mine-1/compare/hot/model")
    (tmp_path / "runs/mine-1/compare/hot/done.json").unlink()
    shutil.rmtree(tmp_path / "runs/mine-1/compare/hot/stages/3-evaluate")
    said = here("compare", "runs/mine-1")
    assert said.code == 0, said.err
    assert "hot, evaluate: begins" in said.err and "assistant: begins" not in said.err
    assert said.out.rstrip().endswith("runs/mine-1/report/index.html")


def test_compare_a_run_with_a_system_named_on_the_command_line(here, made, tmp_path):
    said = here("compare", "runs/mine-2", "compare.systems={cold: {assistant: {temperature: 0.5}}}")
    assert said.code == 0, said.err
    assert re.search(r"^  cold +[\d,]+ ", said.out, re.MULTILINE)
    # From here on the run is compared with it.
    assert list(yaml.safe_load((tmp_path / "runs/mine-2/recipe.yaml").read_text())["compare"]["systems"]) == [
        "cold"
    ]
    # And its page says what to type for all of it.
    report = read_report(tmp_path / "runs/mine-2/report")
    assert list(report.recipe["compare"]["systems"]) == ["cold"]
    first, (_, second) = commands(report)
    assert first == ("", report.command) and report.command
    assert second == "prunekit compare runs/mine-2 'compare.systems={cold: {assistant: {temperature: 0.5}}}'"
    # What compares no more adds nothing.
    (tmp_path / "runs/mine-2/report/report.json").unlink()
    shutil.copy(made / "runs/mine-2/report/report.json", tmp_path / "runs/mine-2/report")
    assert here("compare", "runs/mine-2").code == 0
    assert read_report(tmp_path / "runs/mine-2/report").later_commands == [second]


def test_what_was_tried_before_is_told(here, tmp_path):
    told = "three rates of hot, by validation"
    assert here("compare", "runs/mine-1", f"compare.tried_before={told}").code == 0
    notes = comparison_in(tmp_path / "runs/mine-1/report")["notes"]
    assert f"Tried before: {told}" in notes
    assert "All systems: one setting was trained here." in notes


def test_a_run_that_was_moved_is_found_where_it_is(here, tmp_path):
    (tmp_path / "runs" / "mine-1").rename(tmp_path / "elsewhere")
    said = here("compare", "elsewhere")
    assert said.code == 0 and "begins" not in said.err, said.err
    assert comparison_in(tmp_path / "elsewhere" / "report")["subject"] == "elsewhere"


def test_several_runs_of_a_name_are_seeds_of_one_system(here, tmp_path):
    said = here("compare", "runs/mine-1", "runs/mine-2", "--output", "both")
    assert said.code == 0, said.err
    compared = comparison_in(tmp_path / "both")
    assert [s["name"] for s in compared["systems"]] == ["mine", "hot"]
    (task,) = compared["tasks"]
    assert task["seeds"] == [1, 2] and [row["seeds"] for row in task["rows"]] == [[1, 2], [1]]
    assert any("lacks the seeds 2" in note for note in compared["notes"])
    # What the runs say of themselves stays as it was.
    assert comparison_in(tmp_path / "runs/mine-2/report") is None


def refused(said, *words):
    assert said.code == 2, said.err
    for word in words:
        assert word in said.err, said.err
    assert "Traceback" not in said.err


def test_what_cannot_be_compared(here, tmp_path):
    runs = tmp_path / "runs"
    refused(here("compare", "runs/mine-1", "runs/else"), "runs/else and runs/mine-1", "different examples")
    refused(here("compare", "runs"), "runs is a folder, but no run")
    refused(here("compare", "nowhere"), "there is no recipe 'nowhere'", "shipped")
    refused(here("compare", "runs/mine-2"), "runs/mine-2 alone is nothing to compare", "compare.systems")
    refused(here("compare", "runs/mine-2", "./runs/mine-2"), "given twice")
    refused(here("compare", "a=1"), "nothing says what to compare")
    wrong = "compare.systems={cold: {extends: nowhere}}"
    refused(here("compare", "runs/mine-2", wrong), "command line: compare.systems", "no file nowhere")
    long = f"compare.systems={{cold: {{extends: {'nowhere/' * 40}}}}}"
    refused(here("compare", "runs/mine-2", long), "command line: compare.systems", "no file nowhere")
    assert "nowhere" not in (runs / "mine-2" / "recipe.yaml").read_text()
    other = "compare.systems={cold: {assistant: {tempreature: 1}}}"
    refused(
        here("compare", "runs/mine-2", other),
        "assistant.tempreature: unknown key (system cold)",
        "temperature",
    )
    refused(
        here("compare", "runs/mine-1", "runs/mine-2", "assistant.temperature=3"), "made with another recipe"
    )
    shutil.rmtree(runs / "mine-2" / "report")
    said = here("compare", "runs/mine-1", "runs/mine-2")
    refused(said, "the run runs/mine-2 has no report", "writes it anew")
    (runs / "mine-2" / "done.json").unlink()
    refused(
        here("compare", "runs/mine-1", "runs/mine-2"), "the run runs/mine-2 is not finished", "prunekit apply"
    )


def test_two_systems_of_one_name_that_differ(here, tmp_path):
    recipe = tmp_path / "runs/mine-2/recipe.yaml"
    told = yaml.safe_load(recipe.read_text())
    told["training"]["batch_size"] = 7
    recipe.write_text(yaml.safe_dump(told))
    said = here("compare", "runs/mine-1", "runs/mine-2")
    refused(said, "by name seeds of one system", "training.batch_size: 16 and 7", "rename")
    recipe.write_text(yaml.safe_dump({**told, "seed": 1}))
    (tmp_path / "runs/mine-2").rename(tmp_path / "mine-1")
    refused(here("compare", "runs/mine-1", "mine-1"), "are both mine, reviews, 1, and differ")


def test_plan_says_what_a_comparison_will_train(prunekit, tmp_path):
    (tmp_path / "mine.yaml").write_text(MINE)
    said = prunekit("plan", "mine.yaml", *SMALL, "compare.seeds=[1, 2]", "--name", "7", "--output", "there")
    assert said.code == 0, said.err
    assert "run    there/7, seed 1" in said.out
    # 64 examples in batches of 16: 4 steps an epoch, and each stage takes half an epoch.
    assert re.search(r"^  7, seed 1 +finetune, assistant +4 +1 ", said.out, re.MULTILINE)
    assert re.search(r"^  hot, seed 1 +finetune +assistant +2 +1 ", said.out, re.MULTILINE)
    assert re.search(r"^  hot, seed 2 +finetune +assistant +2 +1 ", said.out, re.MULTILINE)
    assert "4 runs, 12 optimizer steps" in said.out
    assert not (tmp_path / "runs").exists()


def test_plan_finds_what_is_wrong_in_a_system(prunekit, tmp_path):
    (tmp_path / "mine.yaml").write_text(MINE)
    said = prunekit("plan", "mine.yaml", *SMALL, "compare.systems.deep.exits.layers=[1, 7]")
    refused(said, "command line: compare.systems.deep.exits.layers", "(system deep)")
    assert "mine:" not in said.out
