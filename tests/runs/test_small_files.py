"""A damaged small file of a run is said by its name, and what is said to do helps."""

import json
import shutil

import pytest
from short import SHORT
from tiny import tiny_recipe

from prunekit.calibration import read_tries
from prunekit.errors import RunError
from prunekit.reports import read_outputs
from prunekit.runs import Run, info_of, kept_settings, recipe_of
from prunekit.stages.metrics import MetricsLog

BROKEN = [b"{bad", b"[]", b"\xff\xfe\x00", b"null", b"3", b"", b"[" * 100_000, b'"\\ud800"']


@pytest.mark.parametrize("content", [*BROKEN, b"{}", b'{"settings": []}'])
def test_what_a_grid_kept(run, again, content):
    (run / "kept.json").write_bytes(content)
    for read in (kept_settings, recipe_of):
        with pytest.raises(RunError, match=r"kept\.json") as caught:
            read(run)
        assert "remove it" in caught.value.mend
    with pytest.raises(RunError, match=r"kept\.json"):
        again()
    (run / "kept.json").unlink()
    assert again() == []


def test_a_grid_that_lost_what_it_kept_chooses_again(tmp_path, again):
    grid = {"compare": {"grid": {"assistant.learning_rate": [1e-3, 2e-3]}}}
    again(**grid)
    kept = json.loads((tmp_path / "tiny" / "kept.json").read_text())
    (tmp_path / "tiny" / "kept.json").write_bytes(b"{bad")
    with pytest.raises(RunError, match=r"kept\.json is damaged"):
        again(**grid)
    (tmp_path / "tiny" / "kept.json").unlink()
    assert set(again(**grid)) <= {"evaluate"}
    assert json.loads((tmp_path / "tiny" / "kept.json").read_text()) == kept


@pytest.mark.parametrize("content", [*BROKEN, b'{"command": 3}', b'{"versions": {"torch": []}}'])
def test_what_tells_of_the_run(run, again, content):
    (run / "run.json").write_bytes(content)
    with pytest.raises(RunError, match=r"run\.json") as caught:
        info_of(run)
    assert "remove it" in caught.value.mend
    (run / "run.json").unlink()
    again()
    assert info_of(run)["seed"] == 7


@pytest.mark.parametrize("content", [*BROKEN, b"name: [", b"name: tiny\nnothing: here\n", b"a: &a [*a]"])
def test_the_recipe(run, again, content):
    (run / "recipe.yaml").write_bytes(content)
    with pytest.raises(RunError, match=r"recipe\.yaml") as caught:
        recipe_of(run)
    assert "--fresh" in caught.value.mend and "--name OTHER" in caught.value.mend
    with pytest.raises(RunError) as caught:
        again()
    assert "--fresh" in caught.value.mend


def test_a_run_whose_recipe_is_damaged_is_kept_by_fresh(run, tmp_path):
    (run / "recipe.yaml").write_bytes(b"\xff")
    with Run(tiny_recipe(tmp_path, **SHORT), fresh=True) as held:
        assert not held.resumed
    assert (tmp_path / "tiny.1" / "model" / "model.safetensors").is_file()


def test_the_recipe_of_a_compared_run(tmp_path, again):
    hot = {"compare": {"systems": {"hot": {"assistant": {"temperature": 4}}}}}
    again(**hot)
    other = tmp_path / "tiny" / "compare" / "hot"
    for content in (b"\xff", b"{bad"):
        (other / "recipe.yaml").write_bytes(content)
        with pytest.raises(RunError, match=r"hot/recipe\.yaml") as caught:
            again(**hot)
        assert caught.value.mend
    shutil.rmtree(other)
    assert again(**hot) == ["assistant", "evaluate"]


def test_measurements(run, again, caplog):
    file = run / "metrics.jsonl"
    whole = file.read_bytes().splitlines()
    bad = [b"{bad", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"stage": [], "phase": "", "kind": "a", "step": 1}',
           b'{"stage": "a", "phase": "", "kind": "a", "step": "1"}', b'{"stage": "a"}', b"9" * 5000,
           b'{"stage": "a", "phase": "", "kind": "a", "step": 1, "x": NaN}']  # fmt: skip
    file.write_bytes(b"\n".join([*whole, *bad, whole[-1], b'{"stage": "cut o']))
    assert len(MetricsLog(file).records()) == len(whole)
    assert f"damaged lines, which are left out: {len(bad)}" in caplog.text
    (run / "done.json").unlink()
    assert again() == []
    assert file.read_bytes().splitlines() == whole


def test_measurements_that_are_a_folder(run, again):
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()
    (run / "done.json").unlink()
    with pytest.raises(RunError, match=r"metrics\.jsonl") as caught:
        again()
    assert "remove it" in caught.value.mend


def test_words_with_line_breaks_of_unicode_stay_in_one_record(tmp_path):
    log = MetricsLog(tmp_path / "m.jsonl")
    log.log("a", "b", words="one\u2028two\x85three")
    assert log.records()[0]["words"] == "one\u2028two\x85three"


@pytest.mark.parametrize(
    "content", [*BROKEN[:7], b"[3]", b'[{"confidence": "0.9"}]', b'[{"confidence": 7.5}]']
)
def test_how_often_a_model_was_calibrated(run, content):
    if content != b"[]":
        (run / "model" / "calibrations.json").write_bytes(content)
        with pytest.raises(RunError, match=r"calibrations\.json cannot be read"):
            read_tries(run / "model")
    (run / "model" / "calibrations.json").unlink(missing_ok=True)
    (run / "model" / "config.json").write_text('{"exit_guarantee": {"confidence": []}}')
    with pytest.raises(RunError, match=r"config\.json cannot be read"):
        read_tries(run / "model")


def outputs_with(folder, about=None, **changes):
    import numpy as np
    from safetensors.numpy import save_file

    tensors = {
        "logits": np.zeros((2, 3, 4), np.float32), "labels": np.arange(3), "lengths": np.array([5, 6, 7]),
    } | changes  # fmt: skip
    told = {"version": 1, "exit_layers": [1, 2], "difficulties": None, "digest": "x"} | (about or {})
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, folder / "test.safetensors", {"prunekit": json.dumps(told)})
    return folder


def test_saved_outputs_are_what_they_should_be(tmp_path):
    import numpy as np

    assert len(read_outputs(outputs_with(tmp_path), "test").labels) == 3
    whole = (tmp_path / "test.safetensors").read_bytes()
    wrong = [
        {"labels": np.array([0, 1, 4])}, {"labels": np.array([0, 1, -1])},
        {"labels": np.zeros(3, np.float32)},
        {"labels": np.zeros((3, 1), np.int64)}, {"lengths": np.zeros(3, np.int64)}, {"lengths": None},
        {"logits": np.zeros((2, 3, 4))}, {"logits": None}, {"logits": np.full((2, 3, 4), np.nan, np.float32)},
        {"certainty": np.zeros((3, 2), np.float32)}, {"more": np.zeros(3, np.int64)},
        {"dense_predictions": np.array([9, 9, 9])}, {"difficulty": np.array([0, 0, 0])},
        {"about": {"exit_layers": "12"}}, {"about": {"exit_layers": [1, "2"]}}, {"about": {"version": 2}},
        {"about": {"exit_layers": None}},
    ]  # fmt: skip
    for changes in wrong:
        with pytest.raises(RunError, match="does not hold what exits said"):
            read_outputs(outputs_with(tmp_path, **changes), "test")
    for content in (whole[:-5], b"", b"\xff" * 50, whole[:20]):
        (tmp_path / "test.safetensors").write_bytes(content)
        with pytest.raises(RunError, match="does not hold what exits said"):
            read_outputs(tmp_path, "test")
