"""Whatever is wrong ends with one clear message and a code, without a traceback, and loses nothing."""

import resource
import signal

import pytest
from calling import TINY, spawn, wait
from safetensors.torch import load_file, save_file

RECIPE = """\
extends: costeff
model:
  config: {hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 4, intermediate_size: 16}
data:
  train_size: 64
  validation_size: 32
  test_size: 32
slenderize:
  heads: 2
  neurons: 8
  rank: 8
"""


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "mine.yaml").write_text(RECIPE)
    return "mine.yaml"


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def refused(said, *parts, code=2):
    """The command ended with ``code`` and one message that has these parts."""
    assert said.code == code, said.err
    assert "Traceback" not in said.err and "bug" not in said.err
    assert sum(line.startswith("error: ") for line in said.err.splitlines()) == 1
    for part in parts:
        assert part in said.err, said.err
    return said


@pytest.mark.parametrize("command", ["plan", "apply"])
@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("slenderize.head=2", ["command line: slenderize.head: unknown key", "did you mean 'heads'?"]),
        ("slenderise.heads=2", ["command line: slenderise", "unknown key", "did you mean 'slenderize'?"]),
        ("slenderize.heads=two", ["command line: slenderize.heads: expected an integer", "found 'two'"]),
        ("training.batch_size=0", ["command line: training.batch_size: expected greater than or equal to 1"]),
        ("slenderize.heads", ["'slenderize.heads' is not an override", "key=value"]),
        ("slenderize.heads=5", ["command line: slenderize.heads:", "cannot keep 5", "from 1 to 4"]),
        ("slenderize.heads=[2, 2, 2]", ["slenderize.heads:", "the list has 3 sizes"]),
        ("slenderize.neurons=17", ["command line: slenderize.neurons:", "16 units", "cannot keep 17"]),
        ("slenderize.rank=900", ["command line: slenderize.rank:", "cannot keep 900"]),
        ("slenderize.scorer=tailor", ["slenderize", "unknown scorer 'tailor'", "did you mean 'taylor"]),
        ("slenderize.scheduler={name: cubic, speed: 3}", ["scheduler 'cubic' has no argument 'speed'"]),
        ("model.config.num_attention_heads=3", ["model.config", "3 attention heads do not divide the hidden size 16"]),
        ("model.config.hiden_size=8", ["command line: model.config.hiden_size", "has no such setting"]),
        ("model.name=builtin:large", ["command line: model.name", "there is no 'builtin:large'"]),
        ("model.name=no/such-model", ["command line: model.name", "no/such-model", "network", "model.name=PATH"]),
        ("exits.layers=[1, 9]", ["command line: exits.layers", "in 1..2"]),
        ("training.max_length=1000", ["command line: training.max_length: 1000 tokens", "at most 128"]),
        ("stages=[slenderize]", ["slenderize needs a model", "before it: assistant, finetune, student"]),
        ("stages=[finetune, slenderize]", ["stages.1", "needs the assistant model", "put one of these before it: assistant"]),
        ("stages=[finetune, recovery]", ["unknown stage 'recovery'", "did you mean 'recover'"]),
        ("evaluate.policies=[{name: entropy, threshold: []}]", ["command line: evaluate.policies", "entropy.threshold: the list is empty"]),
        ("evaluate.policies=[{name: entropy, threshold: low}]", ["command line: evaluate.policies", "entropy.threshold: 'low' is not a finite number"]),
        ("evaluate.policies=[{name: entropy, threshold: [0.1, 0.2, 0.3]}]", ["command line: evaluate.policies", "does not fit a model of 2 exits", "3 thresholds"]),
        ("evaluate.max_drop=2", ["command line: evaluate.max_drop", "write 2% or 0.02"]),
        ("evaluate.max_drop=lots", ["command line: evaluate.max_drop", "'lots' is no share"]),
        ("slenderize.steps=1000000000", ["command line: slenderize.steps", "10000"]),
        ("slenderize.scorer={name: magnitude, p: .nan}", ["command line: slenderize.scorer", "magnitude.p"]),
        ("data.task=stsb", ["command line: data.task", "regression"]),
        ("name=../elsewhere", ["command line: name"]),
    ],
)  # fmt: skip
# ruff: noqa: E501 - one mistake a line
def test_a_recipe_that_cannot_be_followed(prunekit, recipe, tmp_path, command, override, parts):
    before = contents(tmp_path)
    refused(prunekit(command, recipe, override), *parts)
    assert {path for path in contents(tmp_path) if "runs" not in path.parts} == set(before)
    # Nothing was trained: there is no stage.
    assert not list(tmp_path.glob("runs/*/stages"))


def test_a_target_larger_than_the_model(prunekit, recipe):
    sizes = ["slenderize.heads=null", "slenderize.neurons=null", "slenderize.rank=null"]
    said = prunekit("plan", recipe, *sizes, "slenderize.budget={name: target, parameters: 90M}")
    refused(said, "command line: slenderize.budget", "90M is larger than the model", "reachable")
    said = prunekit("plan", recipe, *sizes, "slenderize.budget={name: target, parameters: 900x}")
    refused(said, "command line: slenderize.budget", "less than these groups can reach", "reachable")
    said = prunekit("plan", recipe, *sizes, "slenderize.budget={name: ratio}")
    refused(said, "budget 'ratio' needs the argument 'keep'", "{name: ratio, keep: ...}")


def test_a_missing_model_and_a_hub_name_without_a_network(prunekit):
    refused(prunekit("plan", "costeff-8x-bert-base"), "model.name", "bert-base-uncased", "the network")


def test_a_mistyped_folder_is_not_looked_for_on_the_hub(prunekit, tmp_path):
    (tmp_path / "runs" / "costeff").mkdir(parents=True)
    for name in ("recipe.yaml", "run.json"):
        (tmp_path / "runs" / "costeff" / name).touch()
    for name in ("runs/costef", "./costeff", "a/b/costeff"):
        refused(prunekit("report", name), f"there is no folder {name}")
    # It could be an owner on the hub; so could any name without a slash.
    (tmp_path / "models").mkdir()
    for name in ("models/costeff", "costeff"):
        refused(prunekit("report", name), f"cannot load the model '{name}'", "the hub did not give it")
    refused(prunekit("plan", "costeff", "model.name=a/b/c"), "model.name", "'a/b/c': there is no such folder")


@pytest.mark.parametrize("command", ["plan", "apply"])
@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda t: None, ["data.train_file", "train.tsv", "does not exist"]),
        (lambda t: "", ["data.train_file", "train.tsv holds no examples: it is empty"]),
        (lambda t: "sentence\tlabel\n", ["train.tsv", "holds no examples"]),
        (lambda t: t.replace("sentence", "words"), ["train.tsv", "data.text", "words"]),
        (lambda t: t.replace("\tlabel", "\tclass"), ["train.tsv", "data.label", "class"]),
        (lambda t: t + "a film\n", ["train.tsv"]),
        (lambda t: t + "   \tpos\n", ["train.tsv", "62"]),
        (lambda t: t + "a film\t\n", ["train.tsv", "62"]),
        (lambda t: "\n".join(line.replace("neg", "pos") for line in t.split("\n")), ["one label, 'pos'"]),
    ],
)
def test_data_that_does_not_fit(prunekit, recipe, tables, tmp_path, command, change, parts):
    file = tmp_path / "train.tsv"
    text = change(file.read_text())
    file.unlink()
    if text is not None:
        file.write_text(text)
    refused(prunekit(command, recipe, *tables), *parts)


def test_a_label_outside_the_set(prunekit, recipe, tables, tmp_path):
    with (tmp_path / "test.tsv").open("a") as stream:
        stream.write("a film\tmixed\n")
    said = prunekit("plan", recipe, *tables)
    refused(said, "test.tsv", "22", "mixed", "not one of 'neg', 'pos'")


def test_a_text_that_tokenises_to_nothing(prunekit, finished):
    run = finished[0] / "runs" / "costeff"
    said = refused(prunekit("predict", run, "fine", ""), "argument 2", "tokenises to nothing")
    assert said.out == ""


def test_predict_says_where_a_text_file_is_wrong(prunekit, finished, tmp_path):
    run = finished[0] / "runs" / "costeff"
    refused(prunekit("predict", run, "--file", "none.txt"), "none.txt does not exist")
    (tmp_path / "one.txt").write_text("a\tb\nonly one\n")
    refused(prunekit("predict", run, "--pair", "--file", "one.txt"), "one.txt, line 2", "found 1")
    (tmp_path / "bytes.txt").write_bytes(b"fine\n\xff\xfe\n")
    refused(prunekit("predict", run, "--file", "bytes.txt"), "bytes.txt is not UTF-8")
    refused(prunekit("predict", run, "text", "--file", "one.txt"), "keep one of the two")


@pytest.fixture
def model(finished, tmp_path):
    """A copy of the finished model."""
    target = tmp_path / "model"
    target.mkdir()
    for file in (finished[0] / "runs" / "costeff" / "model").iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def test_checkpoints_that_cannot_be_read(prunekit, model, tmp_path):
    refused(prunekit("predict", "nowhere", "text"), "there is no folder nowhere")
    refused(prunekit("report", "nowhere"), "nowhere")
    refused(prunekit("report", tmp_path), str(tmp_path))
    weights = model / "model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:4], b"", b"\xff" * 100):
        weights.write_bytes(damaged)
        refused(prunekit("predict", model, "text"), f"cannot read the model in {model}", "damaged")
        assert weights.read_bytes() == damaged
    weights.write_bytes(whole)
    config = (model / "config.json").read_text()
    (model / "config.json").write_text(config[: len(config) // 2])
    refused(prunekit("predict", model, "text"), f"{model}/config.json is not JSON")
    (model / "config.json").write_text(config)
    tensors = load_file(weights)
    tensors.popitem()
    save_file(tensors, weights, {"format": "pt"})
    refused(prunekit("predict", model, "text"), f"cannot read the model in {model}", "the file lacks")


def test_a_run_without_a_model_yet(prunekit, tmp_path):
    for name in ("recipe.yaml", "run.json"):
        (tmp_path / "half").mkdir(exist_ok=True)
        (tmp_path / "half" / name).write_text("{}")
    refused(prunekit("predict", "half", "text"), "has no model yet", "apply")
    refused(prunekit("report", "half"), "has no model yet")


def test_an_existing_run_with_another_recipe_is_left_as_it_is(prunekit, finished):
    folder, _ = finished
    before = contents(folder)
    output = folder / "runs"
    said = prunekit("apply", "costeff", *TINY, "slenderize.heads=1", "seed=7", "--output", output)
    refused(said, "slenderize.heads: 2 there, 1 now", "seed: 42 there, 7 now", "--name", "--fresh")
    assert contents(folder) == before


def test_a_folder_that_is_no_run(prunekit, recipe, tmp_path):
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "notes.txt").write_text("mine")
    refused(prunekit("apply", recipe), "is not a run", "--name")
    assert (tmp_path / "runs" / "mine" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("output", ["/proc/nowhere", "/dev/null/runs"])
def test_an_output_folder_that_cannot_be_written(prunekit, recipe, output):
    refused(prunekit("apply", recipe, "--output", output), "cannot write the run folder", "--output")


def limit_files():
    """What a full disk does: writing more than a little into a file fails."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (24_000, 24_000))


def test_a_full_disk_ends_with_a_message_and_the_run_continues_with_room(finished, tmp_path):
    folder, _ = finished
    said = wait(spawn("apply", "costeff", *TINY, cwd=tmp_path, preexec_fn=limit_files))
    refused(said, "cannot write")
    assert not (tmp_path / "runs" / "costeff" / "done.json").exists()
    again = wait(spawn("apply", "costeff", *TINY, cwd=tmp_path))
    assert again.code == 0, again.err
    assert "continuing runs/costeff" in again.err
    name = "runs/costeff/model/model.safetensors"
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_an_interrupted_run_says_how_to_continue_and_gives_the_same_weights(finished, tmp_path):
    folder, _ = finished
    process = spawn("apply", "costeff", *TINY, cwd=tmp_path)
    while "slenderize: begins" not in (line := process.stderr.readline()):
        assert line, "ended before slenderize began"
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert wait(process).code == 130
    assert "give the same command again to continue" in rest and "Traceback" not in rest
    again = wait(spawn("apply", "costeff", *TINY, cwd=tmp_path))
    assert again.code == 0, again.err
    assert "finetune: begins" not in again.err
    name = "runs/costeff/model/model.safetensors"
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_two_processes_in_one_run(tmp_path):
    first = spawn("apply", "costeff", *TINY, cwd=tmp_path)
    while "finetune: begins" not in (line := first.stderr.readline()):
        assert line, first.wait()
    first.send_signal(signal.SIGSTOP)
    second = wait(spawn("apply", "costeff", *TINY, cwd=tmp_path))
    refused(second, "is being applied by another process", "--name")
    first.kill()
    first.communicate()


def test_a_loss_that_is_not_finite_stops_the_stage(finished, tmp_path):
    said = wait(
        spawn("apply", "costeff", *TINY, "finetune.learning_rate=1e30", "finetune.epochs=4", cwd=tmp_path)
    )
    refused(said, "finetune", "step", code=3)


def test_a_bug_is_called_one_and_shows_its_traceback_only_when_asked(prunekit, monkeypatch):
    from prunekit.commands import parts

    def broken(kind):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(parts, "list_kinds", broken)
    said = prunekit("list")
    assert said.code == 1 and "ZeroDivisionError: oh" in said.err and "bug" in said.err
    assert "Traceback" not in said.err
    said = prunekit("list", "-v")
    assert said.code == 1 and "Traceback" in said.err and "broken" in said.err


@pytest.mark.parametrize(
    "arguments",
    [["aply", "costeff"], ["apply"], ["apply", "costeff", "--nmae", "x"], ["report", "x", "--length", "0"]],
)
def test_a_command_line_that_cannot_be_read(prunekit, arguments):
    said = prunekit(*arguments)
    assert said.code == 2 and "Usage:" in said.err and "Traceback" not in said.err
