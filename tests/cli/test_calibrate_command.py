"""``prunekit calibrate``, and where its guarantee is shown."""

import json
import shutil

import pytest

from prunekit import checkpoints
from prunekit.calibration import guarantee_of

LOOSE = ("--max-drop", "25%", "--confidence", "80%")


@pytest.fixture
def run(finished, tmp_path):
    """A copy of a finished run, in the working folder."""
    folder, _ = finished
    return shutil.copytree(folder / "runs" / "costeff", tmp_path / "run")


@pytest.fixture
def labelled(run, tmp_path):
    """Labelled examples in a file: the test examples that ``costeff`` generates."""
    from prunekit.data import load_task
    from prunekit.recipes import load_recipe

    recipe = load_recipe(str(run / "recipe.yaml"))
    data = load_task(recipe.data, recipe.seed).test
    rows = [
        f"{text}\t{('negative', 'positive')[y]}" for text, y in zip(data["text"], data["label"], strict=True)
    ]
    file = tmp_path / "labelled.tsv"
    file.write_text("text\tlabel\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return file


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_run_with_the_examples_it_held_out(prunekit, run):
    before = contents(run / "model")
    said = prunekit("calibrate", "run", *LOOSE)
    assert said.code == 0, said.err
    config = json.loads((run / "model" / "config.json").read_text())
    guarantee = config["exit_guarantee"]
    assert config["exit_policy"] == guarantee["policy"]
    assert guarantee["policy"] is not None
    assert guarantee["max_drop"] == 0.25 and guarantee["confidence"] == 0.8
    assert guarantee["examples"] == 32
    assert guarantee["words"] in said.out
    assert f"saves      {guarantee['saved']:.1%}" in said.out
    assert "run/report/index.html is as it was" in said.out
    # The run held none out for this alone, and says so.
    assert "data.calibration_size is 0" in said.err
    assert "checkpoints" in guarantee["words"]
    # All else is as it was.
    old = json.loads(before["config.json"])
    assert {**old, "exit_policy": None, "exit_guarantee": None} == {
        **config, "exit_policy": None, "exit_guarantee": None
    }  # fmt: skip
    after = contents(run / "model")
    assert {n for n in before if before[n] != after[n]} == {"config.json", "README.md"}
    assert before.keys() == after.keys()
    assert guarantee_of(checkpoints.load(run / "model").config) == guarantee
    # The same again gives the same.
    assert prunekit("calibrate", "run", *LOOSE).code == 0
    assert contents(run / "model") == after


def test_the_guarantee_is_shown(prunekit, run):
    assert "guarantee" not in prunekit("report", "run").out
    assert prunekit("calibrate", "run", *LOOSE).code == 0
    words = json.loads((run / "model" / "config.json").read_text())["exit_guarantee"]["words"]
    assert words in prunekit("report", "run").out
    assert words in prunekit("report", "run/model").out
    flat = " ".join(prunekit("predict", "run", "good", "-v").err.split())
    assert "confidence, leaving early by" in flat
    assert "leaving early by" not in prunekit("predict", "run", "good").err
    # With another threshold it does not hold.
    assert "leaving early by" not in prunekit("predict", "run", "good", "-v", "--threshold", "0.5").err
    card = (run / "model" / "README.md").read_text()
    assert card.count("## Guarantee") == 1
    assert "leaving early by" in card


def test_a_model_folder_with_a_file(prunekit, run, labelled):
    said = prunekit("calibrate", "run/model", "--data", labelled, *LOOSE, "-v")
    assert said.code == 0, said.err
    guarantee = json.loads((run / "model" / "config.json").read_text())["exit_guarantee"]
    assert guarantee["source"] == "examples of labelled.tsv"
    assert "checkpoints" not in guarantee["words"]
    assert "p-value" in said.out and "as it was" not in said.out
    assert said.out.count("entropy") >= guarantee["tried"]
    # The model as a run's, read with the run's own columns: the same.
    assert prunekit("calibrate", "run", "--data", labelled, *LOOSE).code == 0
    assert json.loads((run / "model" / "config.json").read_text())["exit_guarantee"] == guarantee


def test_another_kind_of_policy(prunekit, run):
    assert prunekit("calibrate", "run", "--policy", "confidence", *LOOSE).code == 0
    policy = json.loads((run / "model" / "config.json").read_text())["exit_policy"]
    assert policy["name"] == "confidence"
    # From then on it is the model's own kind.
    assert prunekit("calibrate", "run", *LOOSE).code == 0
    assert json.loads((run / "model" / "config.json").read_text())["exit_policy"] == policy


def test_examples_that_were_held_out_for_it(prunekit, run):
    recipe = (run / "recipe.yaml").read_text()
    assert "calibration_size: 0" in recipe
    (run / "recipe.yaml").write_text(recipe.replace("calibration_size: 0", "calibration_size: 70"))
    said = prunekit("calibrate", "run", *LOOSE)
    assert said.code == 0, said.err
    guarantee = json.loads((run / "model" / "config.json").read_text())["exit_guarantee"]
    assert guarantee["source"] == "calibration examples of reviews"
    assert guarantee["examples"] == 70


def test_where_nothing_is_safe_the_model_is_left_alone(prunekit, run, monkeypatch):
    from prunekit.calibration import choosing

    # Every policy but the slowest, which leaves nobody, harms: as by exits that are always wrong.
    monkeypatch.setattr(choosing, "harms", lambda said, taken: (taken < said.logits.shape[0] - 1).astype(int))
    before = contents(run / "model")
    said = prunekit("calibrate", "run", "--max-drop", "10%", "--confidence", "90%")
    assert said.code == 2
    assert "no entropy policy could be shown" in said.err
    assert "unchanged" in said.err and "--all-layers" in said.err
    assert contents(run / "model") == before
    said = prunekit("calibrate", "run", "--max-drop", "10%", "--confidence", "90%", "--all-layers")
    assert said.code == 0, said.err
    config = json.loads((run / "model" / "config.json").read_text())
    assert config["exit_policy"] is None
    assert config["exit_guarantee"]["policy"] is None
    assert "Every input goes through all layers" in said.out
    assert "Every input goes through all layers" in prunekit("report", "run").out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run/model"], "--data FILE"),
        (["run"], "299 at least"),
        (["run", "--max-drop", "2"], "2%"),
        (["run", "--confidence", "95"], "95%"),
        (["run", "--bound", "best"], "--bound"),
        (["run", "--policy", "entropie", *LOOSE], "did you mean 'entropy'"),
        (["run", "--policy", "learned", *LOOSE], "learn_to_exit"),
        (["run", "--data", "none.tsv", *LOOSE], "none.tsv does not exist"),
        (["nowhere", "--data", "x.tsv"], "nowhere"),
    ],
)
def test_what_cannot_be_done_is_said(prunekit, run, arguments, words):
    before = contents(run / "model")
    said = prunekit("calibrate", *arguments)
    assert said.code == 2
    assert words in said.err
    assert contents(run / "model") == before


def test_labels_the_model_does_not_have(prunekit, run, tmp_path):
    (tmp_path / "other.tsv").write_text("text\tlabel\nfine\tpositive\nso so\tmixed\n")
    said = prunekit("calibrate", "run", "--data", "other.tsv", *LOOSE)
    assert said.code == 2
    assert "line 3" in said.err and "negative, positive" in said.err


def test_f1_cannot_be_bounded(prunekit, run):
    recipe = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(recipe.replace("metrics: null", "metrics: [f1]"))
    said = prunekit("calibrate", "run", *LOOSE)
    assert said.code == 2
    assert "accuracy" in said.err and "f1" in said.err
