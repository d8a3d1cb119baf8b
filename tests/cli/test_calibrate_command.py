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
def seen(run):
    """Rows of text and label of the examples that ``costeff`` generates, by part."""
    from prunekit.data import load_task
    from prunekit.recipes import load_recipe

    recipe = load_recipe(str(run / "recipe.yaml"))
    splits = load_task(recipe.data, recipe.seed).splits
    return {name: list(zip(data["text"], data["label"], strict=True)) for name, data in splits.items()}


@pytest.fixture
def write(tmp_path):
    """``write(name, rows)``: a file of labelled examples."""

    def write(name, rows):
        lines = [f"{text}\t{('negative', 'positive')[label]}" for text, label in rows]
        (tmp_path / name).write_text("text\tlabel\n" + "\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path / name

    return write


@pytest.fixture
def labelled(seen, write):
    """Labelled examples in a file: the test examples."""
    return write("labelled.tsv", seen["test"])


def fresh(count):
    """Rows that no recipe generates."""
    words = ("awful", "wonderful")
    return [(f"film {n} of mine was {words[n % 2]}", n % 2) for n in range(count)]


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
    assert before.keys() | {"calibrations.json"} == after.keys()
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
    assert "All of them are test examples of the model's report" in guarantee["words"]
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
    after = contents(run / "model")
    # It was asked, and that counts.
    assert json.loads(after.pop("calibrations.json"))[0]["policy"] is None
    assert after == before
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
        (["run", "--confidence", "0"], "write 95% or 0.95"),
        (["run", "--confidence", "1%"], "did you mean 95%"),
        (["run", "--max-drop", "zero"], "write 1% or 0.01"),
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


def test_examples_it_was_trained_on(prunekit, run, seen, write):
    """Most of a file: refused; some: they count, and the guarantee tells of them."""
    before = contents(run / "model")
    many = write("many.tsv", seen["train"][:30] + fresh(20))
    for source in ("run", "run/model"):
        said = prunekit("calibrate", source, "--data", many, *LOOSE)
        assert said.code == 2
        assert "30 of the 50 distinct examples of many.tsv" in " ".join(said.err.split())
        assert contents(run / "model") == before
    some = write("some.tsv", seen["train"][:20] + fresh(40))
    said = prunekit("calibrate", "run", "--data", some, *LOOSE, "--max-drop", "45%")
    assert said.code == 0, said.err
    guarantee = json.loads((run / "model" / "config.json").read_text())["exit_guarantee"]
    assert guarantee["examples"] == 60
    assert "20 of them have texts that the model was trained on" in guarantee["words"]


def test_examples_that_chose_its_checkpoints(prunekit, run, seen, write):
    file = write("mixed.tsv", seen["validation"][:11] + fresh(40))
    assert prunekit("calibrate", "run", "--data", file, *LOOSE, "--max-drop", "45%").code == 0
    words = json.loads((run / "model" / "config.json").read_text())["exit_guarantee"]["words"]
    assert "11 of them chose the model's checkpoints" in words
    assert "not the guarantee it would be on examples that nothing has seen" in words


def test_repeats_count_and_are_told(prunekit, run, write):
    file = write("some.tsv", fresh(40) + fresh(1) * 20)
    said = prunekit("calibrate", "run", "--data", file, *LOOSE, "--max-drop", "45%")
    assert said.code == 0, said.err
    words = "20 of the examples repeat another"
    assert words in " ".join(said.err.split())
    guarantee = json.loads((run / "model" / "config.json").read_text())["exit_guarantee"]
    assert guarantee["examples"] == 60
    assert words in guarantee["words"]


def test_a_class_without_examples(prunekit, run, write):
    file = write("half.tsv", fresh(80)[::2])
    said = prunekit("calibrate", "run", "--data", file, *LOOSE, "--all-layers")
    assert said.code == 0, said.err
    flat = " ".join(said.err.split())
    assert "no calibration example has the label positive" in flat
    assert "negative" not in flat
    # 25 points is a promise, but a poor one.
    assert "--max-drop: up to 25 points" in flat


def test_data_that_cannot_be_read_any_more(prunekit, run, write):
    """Nobody knows then what the model was trained on, and the guarantee says so."""
    recipe = (run / "recipe.yaml").read_text()
    gone = recipe.replace("task: reviews", "task: mine", 1)
    gone = gone.replace("train_file: null", "train_file: gone.tsv", 1)
    (run / "recipe.yaml").write_text(gone.replace("test_fraction: null", "test_fraction: 0.1", 1))
    file = write("fresh.tsv", fresh(60))
    said = prunekit("calibrate", "run", "--data", file, *LOOSE, "--max-drop", "45%")
    assert said.code == 0, said.err
    assert "gone.tsv" in said.err
    words = json.loads((run / "model" / "config.json").read_text())["exit_guarantee"]["words"]
    assert "could not be checked" in words


def test_asking_again_is_counted(prunekit, run):
    """Each answer is wrong in 20 % of all cases at most, so one of two is in 40 %; a repeat is none."""
    for drop in ("25%", "25%", "30%", "30%"):
        assert prunekit("calibrate", "run", "--confidence", "80%", "--max-drop", drop).code == 0
        words = json.loads((run / "model" / "config.json").read_text())["exit_guarantee"]["words"]
        assert ("calibrated once before" in words) == (drop == "30%")
        assert ("60 % sure" in words) == (drop == "30%")
    assert len(json.loads((run / "model" / "calibrations.json").read_text())) == 2


def test_the_card_begins_with_the_policy_in_force(prunekit, run):
    old = (run / "model" / "README.md").read_text()
    for drop in ("25%", "30%"):
        assert prunekit("calibrate", "run", "--confidence", "80%", "--max-drop", drop).code == 0
    policy = json.loads((run / "model" / "config.json").read_text())["exit_policy"]
    card = (run / "model" / "README.md").read_text()
    title, first = [line for line in card[card.index("\n# ") :].splitlines() if line[:1] in ("#", ">")][:2]
    assert title.startswith("# ")
    assert f"The policy now in force is entropy {policy['threshold']}" in first
    assert "30 points" in first and "25 points" not in card
    assert "below are of the policy before" in first
    # The old card is all there behind it.
    assert set(old.splitlines()) <= set(card.splitlines())


def test_the_other_bound_is_named(prunekit, run, monkeypatch):
    """No harm in 32 examples: at 80 % the binomial shows 5 points (1.05^-32 = 0.19), betting does not."""
    from prunekit.calibration import choosing

    monkeypatch.setattr(choosing, "harms", lambda said, taken: 0 * taken)
    asked = ("calibrate", "run", "--max-drop", "5%", "--confidence", "80%", "--bound")
    said = prunekit(*asked, "betting")
    assert said.code == 2
    assert "--bound binomial" in said.err
    assert prunekit(*asked, "binomial").code == 0


def test_a_tokenizer_with_more_words_than_the_model_is_refused(prunekit, run, write):
    model = run.parent / "model"
    shutil.copytree(run / "model", model)
    tokenizer = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"]["mine"] = 100_000
    (model / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    said = prunekit("calibrate", model, "--data", write("fresh.tsv", fresh(60)), *LOOSE)
    assert said.code == 2
    assert "input_ids up to 100000" in said.err and "do not belong together" in said.err
