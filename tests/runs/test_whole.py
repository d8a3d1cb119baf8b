"""A run that is damaged is repaired by applying its recipe again, to the bytes that it had."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from prunekit.commands.sources import model_folder
from prunekit.errors import RunError
from prunekit.reports import read_report
from prunekit.runs import check_result, record_changed
from prunekit.stages.outputs import outputs_of


def weights(run):
    found = sorted([*run.rglob("*.safetensors"), *run.rglob("stages/**/config.json")])
    return {str(f.relative_to(run)): hashlib.sha256(f.read_bytes()).hexdigest() for f in found}


def flip(file):
    content = bytearray(file.read_bytes())
    content[-3] ^= 4
    file.write_bytes(content)


def cut(file):
    file.write_bytes(file.read_bytes()[:-7])


def test_the_record_says_what_every_published_file_holds(run):
    found = {}
    for stage in ("1-finetune", "2-assistant", "3-evaluate"):
        found.update(json.loads((run / "stages" / stage / "done.json").read_text())["files"])
    published = [f for name in ("model", "report", "outputs") for f in (run / name).rglob("*")]
    published += run.glob("stages/*/model/*")
    assert set(found) == {str(f.relative_to(run)) for f in published}
    for path, digest in found.items():
        content = (run / path).read_bytes()
        assert digest == {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}, path


@pytest.mark.parametrize(
    ("harm", "path", "stage"),
    [
        (flip, "stages/1-finetune/model/model.safetensors", "finetune"),
        (cut, "stages/1-finetune/model/config.json", "finetune"),
        (Path.unlink, "stages/2-assistant/model/tokenizer.json", "assistant"),
        (cut, "stages/2-assistant/model/model.safetensors", "assistant"),
        (flip, "model/model.safetensors", "evaluate"),
        (cut, "model/config.json", "evaluate"),
        (Path.unlink, "model/tokenizer_config.json", "evaluate"),
        (flip, "report/index.html", "evaluate"),
        (cut, "outputs/test.safetensors", "evaluate"),
    ],
)
def test_what_is_damaged_is_made_again_and_nothing_else(run, again, caplog, harm, path, stage):
    before = weights(run)
    harm(run / path)
    assert again() == [stage]
    assert weights(run) == before
    [line] = [message for message in caplog.messages if "is made again" in message]
    assert path in line and line.startswith(stage)
    assert again() == []


@pytest.mark.parametrize("name", ["model", "report", "outputs", "stages", "stages/2-assistant"])
def test_a_folder_that_is_gone_is_made_again(run, again, name):
    before = weights(run)
    shutil.rmtree(run / name)
    again()
    assert weights(run) == before
    assert (run / "report" / "index.html").is_file()
    assert again() == []


def test_a_damaged_config_of_the_result_does_not_stop_its_repair(run, again):
    before = weights(run)
    (run / "model" / "config.json").write_bytes(b"\xff{")
    assert again() == ["evaluate"]
    assert weights(run) == before


BROKEN = [
    b"{}", b"[]", b"{bad", b"\xff\xfe", b"null", b'{"seconds": 1, "models": {"model": "../../x"}}',
    b'{"seconds": "x", "models": {}}', b'{"seconds": 1, "models": []}', b"[" * 100_000, b"",
]  # fmt: skip


@pytest.mark.parametrize(("number", "content"), list(enumerate(BROKEN)))
def test_a_damaged_record_of_a_stage_has_it_made_again(run, again, caplog, number, content):
    stage = ("1-finetune", "3-evaluate")[number % 2]
    before = weights(run)
    (run / "stages" / stage / "done.json").write_bytes(content)
    assert again() == [stage[2:]]
    assert weights(run) == before
    [line] = [message for message in caplog.messages if "is made again" in message]
    assert f"{stage}/done.json" in line


def test_a_damaged_mark_that_all_is_done_is_written_anew(run, again):
    (run / "done.json").write_bytes(b"{bad")
    assert again() == []
    assert json.loads((run / "done.json").read_text())["finished"]


def test_a_stage_whose_model_was_remade_with_other_bytes_is_made_again(run, again, caplog):
    """Somebody put another model in the place of one, and its record with it."""
    stage = run / "stages" / "1-finetune"
    flip(stage / "model" / "model.safetensors")
    done = json.loads((stage / "done.json").read_text())
    content = (stage / "model" / "model.safetensors").read_bytes()
    path = "stages/1-finetune/model/model.safetensors"
    done["files"][path]["sha256"] = hashlib.sha256(content).hexdigest()
    (stage / "done.json").write_text(json.dumps(done))
    assert again() == ["assistant", "evaluate"]
    assert any(
        "assistant is made again: the original model that it was made from" in m for m in caplog.messages
    )


def test_a_run_of_a_version_that_recorded_nothing_gets_its_records(run, again):
    for file in run.glob("stages/*/done.json"):
        done = json.loads(file.read_text())
        file.write_text(json.dumps({k: v for k, v in done.items() if k not in ("files", "reads")}))
    (run / "data.json").unlink()
    (run / "computing.json").unlink()
    (run / "done.json").unlink()
    assert again() == []
    assert (run / "data.json").is_file() and (run / "computing.json").is_file()
    flip(run / "stages" / "2-assistant" / "model" / "model.safetensors")
    flip(run / "outputs" / "test.safetensors")
    assert again() == ["assistant", "evaluate"]


# -- what reads a run


def test_a_damaged_result_is_refused_by_all_that_read_it(run):
    flip(run / "model" / "model.safetensors")
    with pytest.raises(RunError, match=r"is damaged.*model/model\.safetensors holds other bytes") as caught:
        model_folder(str(run))
    assert "apply the run's recipe again" in caught.value.mend
    flip(run / "outputs" / "test.safetensors")
    with pytest.raises(RunError, match=r"outputs/test\.safetensors holds other bytes"):
        outputs_of(run, "test")
    assert len(outputs_of(run, "validation").labels) == 30


def test_a_finished_run_without_its_model_says_what_is_gone(run):
    shutil.rmtree(run / "model")
    with pytest.raises(RunError, match=r"is damaged.*model.* is not there"):
        model_folder(str(run))


def test_what_calibrating_changes_keeps_the_record_true_and_survives_a_repair(run, again):
    config = json.loads((run / "model" / "config.json").read_text())
    config["exit_policy"] = {"name": "entropy", "threshold": 0.33}
    (run / "model" / "config.json").write_text(json.dumps(config))
    (run / "model" / "calibrations.json").write_text("[]")
    with pytest.raises(RunError, match="is damaged"):
        check_result(run, "model")
    record_changed(run / "model")
    check_result(run, "model")
    assert again() == []
    # The report is gone: what was put into the model stays.
    shutil.rmtree(run / "report")
    assert again() == ["evaluate"]
    assert json.loads((run / "model" / "config.json").read_text()) == config
    # The weights are damaged: how often was asked stays.
    flip(run / "model" / "model.safetensors")
    assert again() == ["evaluate"]
    assert (run / "model" / "calibrations.json").read_text() == "[]"


def test_changing_another_folder_changes_no_record(run, tmp_path):
    before = (run / "stages/3-evaluate/done.json").read_bytes()
    (tmp_path / "model").mkdir()
    record_changed(tmp_path / "model")
    record_changed(run / "stages" / "1-finetune" / "model")
    assert (run / "stages/3-evaluate/done.json").read_bytes() == before


@pytest.mark.parametrize("content", [b"{bad", b"[]", b"\xff", b"{}", b"[" * 100_000])
def test_a_damaged_report_is_said_and_written_anew(run, again, content):
    (run / "report" / "report.json").write_bytes(content)
    with pytest.raises(RunError, match=r"report\.json"):
        read_report(run / "report")
    assert again() == ["evaluate"]
    assert read_report(run / "report").name == "tiny"
