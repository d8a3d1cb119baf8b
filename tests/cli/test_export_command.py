"""`prunekit export`, and `prunekit predict` from what it wrote."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from families import backbone, task_model

import prunekit as package
from prunekit.data import word_tokenizer
from prunekit.exits import MultiExitForSequenceClassification
from prunekit.runtime.manifest import NAME

pytest.importorskip("onnx", reason="the extra 'export' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
pytest.importorskip("openvino", reason="the extra 'openvino' is not installed")

TEXTS = ["good film", "the soup was cold", "bad film good soup bad", "the the the the was was was"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    tokenizer = word_tokenizer(TEXTS)
    tokenizer.model_max_length = 32
    torch.manual_seed(0)
    made = MultiExitForSequenceClassification.from_backbone(
        backbone("bert", vocab_size=len(tokenizer)), reads="mean", label_names=["neg", "pos"]
    )
    with torch.no_grad():
        for head in made.exits:
            head.classifier.weight.mul_(60)
    made.set_exit_policy({"name": "entropy", "threshold": 0.4})
    package.save(made.eval(), tmp_path_factory.mktemp("model") / "m", tokenizer)
    return tmp_path_factory.getbasetemp() / "model0" / "m"


def answers(said):
    assert said.code == 0, said.err
    return [line.split("\t") for line in said.out.splitlines()[1:]]


@pytest.mark.parametrize("to", ["openvino", "onnx"])
@pytest.mark.parametrize("texts", [TEXTS, [*TEXTS, "good " * 50]], ids=["short", "one that is cut"])
def test_an_export_answers_as_the_model_does(prunekit, model, to, texts):
    assert prunekit("export", model, "--to", to, "--output", "made").code == 0
    expected, found = (
        answers(prunekit("predict", model, *texts)),
        answers(prunekit("predict", "made", *texts)),
    )
    assert [(row[0], *row[2:]) for row in found] == [(row[0], *row[2:]) for row in expected]
    assert [float(row[1]) for row in found] == pytest.approx([float(row[1]) for row in expected], abs=2e-4)
    pairs = ["--pair", "good film", "cold soup"]
    assert answers(prunekit("predict", "made", *pairs)) == answers(prunekit("predict", model, *pairs))
    slow = ["--threshold", "0", *texts]
    assert {row[2] for row in answers(prunekit("predict", "made", *slow))} == {"3"}


@pytest.mark.parametrize(
    ("to", "precision", "off"),
    [("openvino", "float16", 0.02), ("openvino", "bfloat16", 0.1), ("onnx", "int8", 0.5)],
)
def test_other_precisions_are_near_and_the_difference_is_measured(
    prunekit, model, tmp_path, to, precision, off
):
    said = prunekit("export", model, "--to", to, "--precision", precision, "--output", "made")
    assert said.code == 0, said.err
    made = json.loads((tmp_path / "made" / NAME).read_text())
    assert 0 < made["differences"]["logits"] < off
    expected, found = (
        answers(prunekit("predict", model, *TEXTS)),
        answers(prunekit("predict", "made", *TEXTS)),
    )
    assert [row[0] for row in found] == [row[0] for row in expected]


def test_what_is_written_can_be_written_again_and_nothing_else_is_replaced(prunekit, model, tmp_path):
    assert prunekit("export", model, "--output", "made").code == 0
    assert prunekit("export", model, "--output", "made", "--exit-layer", "2").code == 0
    assert json.loads((tmp_path / "made" / NAME).read_text())["exit_layers"] == [2]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    said = prunekit("export", model, "--output", "mine")
    assert said.code == 2
    assert "holds no export" in said.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--to", "tflite"], "there is no format 'tflite'"),
        (["--to", "onnx", "--precision", "bfloat16"], "onnx has no bfloat16"),
        (["--precision", "int3"], "openvino has no int3"),
        (["--exit-layer", "9"], "there is no exit on layer 9"),
    ],
)
def test_what_cannot_be_exported(prunekit, model, tmp_path, options, words):
    said = prunekit("export", model, "--output", "made", *options)
    assert said.code == 2
    assert words in said.err
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_without_exits_and_what_is_none(prunekit, tmp_path):
    tokenizer = word_tokenizer(TEXTS)
    package.save(task_model("roberta", vocab_size=len(tokenizer)), tmp_path / "plain", tokenizer)
    assert prunekit("export", "plain", "--output", "made", "--to", "onnx").code == 0
    assert len(answers(prunekit("predict", "made", *TEXTS))) == len(TEXTS)
    package.save(task_model("llama", vocab_size=len(tokenizer)), tmp_path / "words", tokenizer)
    said = prunekit("export", "words", "--output", "other")
    assert said.code == 2
    assert "is no classifier of texts" in said.err


@pytest.mark.parametrize(
    "change",
    [
        {"graphs": ["../m/model.safetensors"]},
        {"graphs": 5},
        {"exit_layers": [1]},
        {"format": 9},
        {"policy": "soon"},
        {"policy": {"name": "none.such:Policy"}},
        {"padding": {"input_ids": "a"}},
        {"backend": "other"},
        {"unknown_key": 1},
    ],
    ids=str,
)
def test_a_manifest_that_is_wrong(prunekit, model, tmp_path, change):
    assert prunekit("export", model, "--output", "made").code == 0
    path = tmp_path / "made" / NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    said = prunekit("predict", "made", "good film")
    assert said.code == 2, said.err
    assert "Traceback" not in said.err


def test_an_export_is_run_without_torch(prunekit, model, tmp_path):
    assert prunekit("export", model, "--output", "made").code == 0
    code = (
        "import sys; from prunekit.cli import run; assert run(['predict', 'made', 'good film']) == 0; "
        "assert not {'torch', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
