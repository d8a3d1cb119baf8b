"""What exits said, on disk and back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from report_sample import outputs
from safetensors import safe_open

from prunekit.errors import RunError
from prunekit.reports import ExitOutputs, read_outputs, save_outputs
from prunekit.reports.outputs import examples_digest

ARRAYS = ("logits", "labels", "lengths", "certainty", "dense_predictions")


def some(**changes):
    said = outputs(examples=30)
    values = {name: getattr(said, name) for name in ExitOutputs.__dataclass_fields__} | changes
    return ExitOutputs(**values)


def test_all_but_the_texts_comes_back(tmp_path):
    random = np.random.default_rng(0)
    said = some(certainty=random.random((6, 30), np.float32), dense_predictions=random.integers(0, 2, 30))
    save_outputs(tmp_path / "outputs", "test", said)
    back = read_outputs(tmp_path / "outputs", "test")
    for name in ARRAYS:
        assert np.array_equal(getattr(back, name), getattr(said, name)), name
    assert back.exit_layers == list(said.exit_layers)
    assert back.difficulty == list(said.difficulty) and back.difficulties == said.difficulties
    assert back.texts is None
    assert back.digest == said.digest == examples_digest(said.texts)
    written = (tmp_path / "outputs" / "test.safetensors").read_bytes()
    assert not any(text.encode() in written for text in said.texts)


def test_what_is_not_there_stays_absent(tmp_path):
    save_outputs(tmp_path, "validation", some(texts=None, difficulty=None, difficulties=None, digest=None))
    back = read_outputs(tmp_path, "validation")
    assert back.certainty is back.dense_predictions is back.difficulty is back.digest is None


def test_digest_tells_examples_apart():
    texts = ["a", "b c", "d"]
    every = [texts, ["b c", "a", "d"], ["a", "b", "c d"], ["a b", "c", "d"], texts[:2], ['a", "b c', "d"]]
    assert len({examples_digest(one) for one in every}) == len(every)
    assert examples_digest(tuple(texts)) == examples_digest(texts)


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(RunError, match=r"there is no .*test\.safetensors"):
        read_outputs(tmp_path, "test")
    file = save_outputs(tmp_path, "test", some())
    whole = file.read_bytes()
    for damaged in (
        b"",
        b"no safetensors",
        whole[:-5],
        whole.replace(b'\\"version\\": 1', b'\\"version\\": 7'),
    ):
        file.write_bytes(damaged)
        with pytest.raises(RunError, match=r"test\.safetensors does not hold"):
            read_outputs(tmp_path, "test")
    file.write_bytes(whole)
    with safe_open(file, "numpy") as opened:
        assert json.loads(opened.metadata()["prunekit"])["exit_layers"] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("certainty", np.zeros((5, 30)), "certainty"),
        ("certainty", np.full((6, 30), np.nan), "certainty hold values"),
        ("dense_predictions", np.zeros(29, int), "29 predictions of the dense model for 30"),
    ],
)
def test_what_does_not_fit_is_refused(name, value, message):
    with pytest.raises(ValueError, match=message):
        some(**{name: value})
