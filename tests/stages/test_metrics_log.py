"""metrics.jsonl survives kills."""

import math

import pytest

from prunekit.errors import RunError
from prunekit.stages.metrics import MetricsLog


def test_records_come_back_in_order(tmp_path):
    log = MetricsLog(tmp_path / "m.jsonl")
    log.log("finetune", "train", phase="train", step=1, loss=0.5)
    log.log("finetune", "evaluate", phase="train", step=1, score=0.7)
    assert [r["kind"] for r in log.records()] == ["train", "evaluate"]
    assert log.records("finetune", "evaluate")[0]["score"] == 0.7
    assert log.records("recover") == []


def test_what_is_measured_again_replaces_what_was(tmp_path):
    log = MetricsLog(tmp_path / "m.jsonl")
    for loss in (0.5, 0.4):
        log.log("finetune", "train", step=1, loss=loss)
        log.log("finetune", "train", step=2, loss=loss / 2)
    assert [(r["step"], r["loss"]) for r in log.records()] == [(1, 0.4), (2, 0.2)]
    log.compact()
    assert len(log.path.read_text().splitlines()) == 2


def test_a_line_that_was_cut_off_harms_no_other(tmp_path):
    log = MetricsLog(tmp_path / "m.jsonl")
    log.log("a", "train", step=1)
    with log.path.open("a") as stream:
        stream.write('{"stage": "a", "ph')
    log.log("a", "train", step=2)
    assert [r["step"] for r in log.records()] == [1, 2]


def test_numbers_that_json_lacks_become_null(tmp_path):
    log = MetricsLog(tmp_path / "m.jsonl")
    log.log("a", "train", loss=math.nan)
    assert log.records()[0]["loss"] is None


def test_helpers_write_nothing(tmp_path):
    log = MetricsLog(tmp_path / "m.jsonl", writes=False)
    log.log("a", "train")
    log.compact()
    assert not log.path.exists()


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(RunError, match="cannot write"):
        MetricsLog(tmp_path / "no" / "m.jsonl").log("a", "train")
