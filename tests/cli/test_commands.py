"""The commands as a person uses them."""

import io
import json
import re
import subprocess
import sys

import pytest
import yaml
from calling import ROOT, TINY, spawn, wait

import prunekit as package


@pytest.mark.parametrize("arguments", [["--help"], ["apply", "-h"], ["--version"]])
def test_help_and_version_answer_without_torch(arguments):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "prunekit", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported and not imported & {"torch", "transformers", "datasets", "sklearn"}
    assert "Usage" in done.stdout or done.stdout == f"prunekit {package.__version__}\n"


@pytest.mark.parametrize("command", ["plan", "apply", "compare", "report", "predict", "calibrate", "list"])
def test_every_command_explains_itself_with_examples(prunekit, command):
    said = prunekit(command, "--help")
    assert said.code == 0
    assert "Examples" in said.out and f"prunekit {command}" in said.out
    assert "=''" not in said.out  # a list in brackets is no markup


def test_list_names_every_kind(prunekit):
    said = prunekit("list")
    assert said.code == 0
    for name in ("multi_exit_taylor", "heads", "cubic", "target", "entropy", "roberta", "slenderize"):
        assert re.search(rf"^  {name} ", said.out, re.MULTILINE), name
    assert "costeff-8x-bert-base" in said.out
    assert "Rank of the word embedding" in prunekit("list", "granularities").out
    assert "cubic" not in prunekit("list", "granularities").out


def test_list_refuses_an_unknown_kind(prunekit):
    said = prunekit("list", "scorer")
    assert said.code == 2
    assert "there is no kind of part called 'scorer'" in said.err and "did you mean 'scorers'?" in said.err


def test_the_schema_is_json(prunekit):
    said = prunekit("schema")
    assert said.code == 0 and "slenderize" in json.loads(said.out)["properties"]


def test_plan_says_sizes_and_steps_before_anything_is_trained(prunekit, tmp_path):
    said = prunekit("plan", "costeff", *TINY)
    assert said.code == 0, said.err
    # 64 examples in batches of 16: 4 steps an epoch; two heads go in two steps.
    assert re.search(r"1 finetune +train +0\.5 +0\.0005 +2 ", said.out)
    assert re.search(r"3 slenderize +step +2 x 0\.25 .* 2 ", said.out)
    assert re.search(r"^  1 +2 of 4 +8 of 16 ", said.out, re.MULTILINE)
    assert "word embedding: rank 8" in said.out
    assert "64 training, 32 validation, 32 test examples, 2 classes" in said.out
    assert list(tmp_path.iterdir()) == []


BERT_BASE = {
    "model_type": "bert",
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "pad_token_id": 0,
}


@pytest.mark.parametrize(
    ("recipe", "heads", "neurons", "rank", "times"),
    [("costeff-8x-bert-base", 2, 256, 128, "7.9"), ("costeff-2x-bert-base", 6, 1536, 384, "2.0")],
)
def test_plan_needs_no_weights_and_gives_the_papers_sizes(
    prunekit, tmp_path, recipe, heads, neurons, rank, times
):
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text(json.dumps(BERT_BASE))
    said = prunekit("plan", recipe, "model.name=bert")
    assert said.code == 0, said.err
    row = re.search(r"^  slenderize +([\d,]+) +(\S+)x +[\d,]+ +\S+x +([\d,]+)", said.out, re.MULTILINE)
    width, hidden, tokens = heads * 64, 768, 128
    matrices = 4 * width * hidden + 2 * neurons * hidden
    layer = matrices + 3 * width + hidden + neurons + hidden + 4 * hidden
    words = 30522 * rank + rank * hidden
    embeddings = words + (512 + 2 + 2) * hidden
    assert row[1] == f"{embeddings + 12 * (layer + 2 * hidden + 2):,}"
    assert row[2] == times
    # The projection of the word embedding works once a token.
    macs = tokens * (rank * hidden + 12 * matrices) + 12 * (2 * tokens * tokens * width + 2 * hidden)
    assert row[3] == f"{macs:,}"
    assert "examples are read when the recipe is applied" in said.out


def test_plan_counts_glues_classes_where_the_examples_are_on_the_hub(prunekit, tmp_path):
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text(json.dumps(BERT_BASE))
    two, three = (
        prunekit("plan", "costeff-8x-bert-base", "model.name=bert", f"data.task={task}").out
        for task in ("mrpc", "mnli")
    )
    rows = [
        [
            int(n.replace(",", ""))
            for n in re.findall(r"^  (?:original|assistant) +([\d,]+)", out, re.MULTILINE)
        ]
        for out in (two, three)
    ]
    # One class more is a row of 768 and a bias: once in the original, twelve times with an exit a layer.
    assert [b - a for a, b in zip(*rows, strict=True)] == [769, 12 * 769]


@pytest.mark.parametrize("order", ["[heads, neurons, rank]", "[rank, heads]"])
def test_plan_where_scores_decide(prunekit, order):
    sizes = ["slenderize.heads=null", "slenderize.neurons=null", "slenderize.rank=null"]
    budget = "slenderize.budget={name: target, parameters: 2x, distribution: global}"
    said = prunekit("plan", "costeff", *TINY, *sizes, budget, f"slenderize.granularities={order}")
    assert said.code == 0, said.err
    assert "decided by scores" in said.out and "that the target can be met was checked" in said.out


def test_apply_makes_a_run_that_says_what_made_it(finished):
    folder, said = finished
    run = folder / "runs" / "costeff"
    assert (
        "fewer parameters" in said.out and str(run.relative_to(folder) / "report" / "index.html") in said.out
    )
    assert "slenderize, step 2/2: kept heads 2" in said.err
    info = json.loads((run / "run.json").read_text())
    assert info["command"].startswith("prunekit apply costeff 'model.config={hidden_size: 16")
    assert info["seed"] == 42 and info["versions"]["prunekit"] == package.__version__
    resolved = yaml.safe_load((run / "recipe.yaml").read_text())
    assert resolved["slenderize"]["neurons"] == 8 and resolved["training"]["batch_size"] == 16
    assert {"recipe.yaml", "run.json", "metrics.jsonl", "stages", "model", "report", "done.json"} <= {
        path.name for path in run.iterdir()
    }
    stages = {json.loads(line)["stage"] for line in (run / "metrics.jsonl").read_text().splitlines()}
    assert stages == {"finetune", "assistant", "slenderize", "recover", "evaluate"}


def test_a_finished_run_is_shown_again_and_not_repeated(finished):
    folder, first = finished
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*") if path.name != ".lock"}
    again = wait(spawn("apply", "costeff", *TINY, cwd=folder))
    assert again.code == 0 and "runs/costeff is finished" in again.err
    assert again.out == first.out
    after = {path: path.stat().st_mtime_ns for path in (folder / "runs").rglob("*") if path.name != ".lock"}
    assert after == before


def test_the_resolved_recipe_applies_as_it_is(finished, prunekit):
    folder, _ = finished
    said = prunekit("plan", folder / "runs" / "costeff" / "recipe.yaml")
    assert said.code == 0, said.err
    assert re.search(r"^  1 +2 of 4 +8 of 16 ", said.out, re.MULTILINE)


def test_report_on_a_run_counts_modules_and_exits(finished, prunekit):
    folder, _ = finished
    said = prunekit("report", folder / "runs" / "costeff", "--length", "10", "--depth", "2")
    assert said.code == 0, said.err
    assert "fewer parameters" in said.out
    assert "one example of 10 tokens" in said.out and "multiply-adds" in said.out and "FLOPs" in said.out
    assert re.search(r"^    backbone +BertModel", said.out, re.MULTILINE)
    assert "embeddings" in said.out and "word_embeddings" not in said.out
    macs = [int(n.replace(",", "")) for n in re.findall(r"^  [12] +\d+ +([\d,]+) ", said.out, re.MULTILINE)]
    assert len(macs) == 2 and macs[0] < macs[1]


def test_report_on_a_plain_model_by_its_configuration_alone(prunekit, tmp_path):
    (tmp_path / "bert").mkdir()
    small = {**BERT_BASE, "num_hidden_layers": 1, "architectures": ["BertForSequenceClassification"]}
    (tmp_path / "bert" / "config.json").write_text(json.dumps(small))
    said = prunekit("report", "bert", "--depth", "1")
    assert said.code == 0, said.err
    # One layer: 4 H^2 + 2 H F a token, 2 T H a token for attention, pooler and classifier once.
    macs = 128 * (4 * 768**2 + 2 * 768 * 3072) + 2 * 128 * 128 * 768 + 768**2 + 2 * 768
    assert f"{macs:,}" in said.out and f"{2 * macs:,}" in said.out


def rows(out):
    head, *lines = [line.split("\t") for line in out.splitlines()]
    assert head == ["label", "confidence", "exit_layer", "text"]
    return lines


def test_predict_from_arguments_a_file_and_standard_input_agree(finished, prunekit, tmp_path, monkeypatch):
    run = finished[0] / "runs" / "costeff"
    texts = ["The soup was cold.", "I loved it, but not the waiter", "good"]
    said = prunekit("predict", run, *texts)
    assert said.code == 0, said.err
    answers = rows(said.out)
    assert [row[3] for row in answers] == texts
    for label, confidence, layer, _ in answers:
        assert label in ("negative", "positive") and 0.5 <= float(confidence) <= 1 and layer in "12"
    (tmp_path / "texts.txt").write_text("\n".join(texts) + "\n")
    assert rows(prunekit("predict", run, "--file", "texts.txt").out) == answers
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(texts)))
    assert rows(prunekit("predict", run).out) == answers


def test_predict_says_where_words_are_unknown(finished, prunekit):
    run = finished[0] / "runs" / "costeff"
    said = prunekit("predict", run, "the", "the qwzx")
    assert "1 texts have words" in said.err and "argument 2" in said.err
    assert "unknown" not in said.out and len(rows(said.out)) == 2
    assert "words" not in prunekit("predict", run, "the").err


def test_predict_says_what_it_cut(finished, prunekit):
    run = finished[0] / "runs" / "costeff"
    said = prunekit("predict", run, "the", "the " * 600)
    assert "1 texts are longer than" in said.err and "argument 2" in said.err
    assert len(rows(said.out)) == 2
    assert "longer" not in prunekit("predict", run, "the").err


def test_predict_with_another_threshold_leaves_at_once_or_never(finished, prunekit):
    model = finished[0] / "runs" / "costeff" / "model"
    assert rows(prunekit("predict", model, "good", "--threshold", "9").out)[0][2] == "1"
    assert rows(prunekit("predict", model, "good", "--threshold", "0").out)[0][2] == "2"


def test_predict_pairs(finished, prunekit, tmp_path):
    run = finished[0] / "runs" / "costeff"
    (tmp_path / "pairs.txt").write_text("one\ttwo\nthree\tfour\n")
    said = prunekit("predict", run, "--pair", "--file", "pairs.txt")
    assert said.code == 0 and [line.split("\t")[3:] for line in said.out.splitlines()[1:]] == [
        ["one", "two"],
        ["three", "four"],
    ]
    assert len(prunekit("predict", run, "--pair", "one", "two").out.splitlines()) == 2
    assert "takes texts two by two, and 3 are given" in prunekit("predict", run, "--pair", "a", "b", "c").err


def test_predictions_do_not_depend_on_the_batch(finished, prunekit):
    run = finished[0] / "runs" / "costeff"
    texts = [
        f"the {word} was {how}" for word in ("soup", "waiter", "film") for how in ("good", "very bad , yes")
    ]
    together = rows(prunekit("predict", run, *texts).out)
    alone = [rows(prunekit("predict", run, text).out)[0] for text in texts]
    assert [(row[0], row[2]) for row in together] == [(row[0], row[2]) for row in alone]


def test_quiet_leaves_the_result_alone_and_verbose_says_more(finished, tmp_path):
    folder, first = finished
    quiet = wait(spawn("apply", "costeff", *TINY, "--quiet", cwd=folder))
    assert quiet.code == 0 and quiet.err == "" and quiet.out == first.out


def test_a_reader_that_goes_away_is_no_error():
    process = spawn("list", cwd=ROOT)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 0


def test_a_part_of_ones_own_is_imported_when_it_is_asked_for(prunekit, tmp_path):
    """A folder imports nothing; the person who trusts its parts says which module has them."""
    from transformers import AutoModel, BertConfig

    from prunekit import checkpoints, registry
    from prunekit.data import word_tokenizer
    from prunekit.exits import MultiExitForSequenceClassification

    (tmp_path / "own_heads.py").write_text(
        "from prunekit.exits import ExitHead\nclass Own(ExitHead):\n    '''Own.'''\n"
    )
    registry.import_folder = tmp_path
    try:
        bert = AutoModel.from_config(BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=2,
                                                num_attention_heads=2, intermediate_size=16))  # fmt: skip
        made = MultiExitForSequenceClassification.from_backbone(bert, head="own_heads:Own")
        checkpoints.save(made, tmp_path / "m", word_tokenizer(["a good film"]))
        del sys.modules["own_heads"]
        said = prunekit("predict", "m", "a good film")
        assert said.code == 2
        assert "--import own_heads" in said.err
        assert prunekit("predict", "m", "--import", "own_heads", "a good film").code == 0
        del sys.modules["own_heads"]
        assert prunekit("report", "m", "--import", "own_heads").code == 0
        assert prunekit("report", "m", "--import", "not-a-module").code == 2
        assert prunekit("report", "m", "--import", "no_such_module").code == 2
    finally:
        registry.import_folder = None
        sys.modules.pop("own_heads", None)
        sys.path[:] = [path for path in sys.path if path != str(tmp_path)]
