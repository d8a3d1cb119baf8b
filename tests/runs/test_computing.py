"""How a run computes is decided once, and kept when it goes on elsewhere or otherwise."""

import hashlib
import json
import shutil

import pytest
import torch
from accelerate import PartialState

from prunekit.distill import cache
from prunekit.errors import RunError
from prunekit.runs import computing
from prunekit.stages import pipeline
from prunekit.stages.training import precision, teaching

TAUGHT = {
    "stages": ["finetune", "assistant", "recover", "evaluate"],
    "recover": {"features_epochs": 1, "epochs": 1, "learning_rate": 1e-3, "features_learning_rate": 1e-3},
}


def weights(run):
    return hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()


def recorded(run):
    return json.loads((run / "computing.json").read_text())


class Stopped(Exception):
    pass


def stopped_behind(monkeypatch, again, stage, **changes):
    """Apply the recipe until a stage has begun to train, and stop there."""
    from prunekit.stages.training.trainer import StageTrainer

    train = StageTrainer.training_step

    def step(self, *arguments, **options):
        if self.name.startswith(stage):
            raise Stopped
        return train(self, *arguments, **options)

    with monkeypatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(StageTrainer, "training_step", step)
        again(**changes)


@pytest.mark.parametrize(("first", "then"), [(2**40, 2**20), (0, 2**40)])
def test_whether_answers_are_kept_does_not_depend_on_the_disk_of_a_later_day(
    tmp_path, monkeypatch, again, first, then
):
    built, build = [], cache.CachedTeacher.build.__func__

    def count(cls, *arguments, **options):
        built.append(options["reserve"])
        return build(cls, *arguments, **options)

    monkeypatch.setattr(cache.CachedTeacher, "build", classmethod(count))
    free = {"now": first}
    monkeypatch.setattr(teaching, "free_bytes", lambda folder: free["now"])
    monkeypatch.setattr(cache, "free_bytes", lambda folder: free["now"])
    again(tmp_path / "whole", **TAUGHT)
    stopped_behind(monkeypatch, again, "recover", **TAUGHT)
    run = tmp_path / "tiny"
    assert recorded(run)["caches"] == {"recover": bool(first)}
    shutil.rmtree(run / "cache", ignore_errors=True)
    free["now"] = then  # room for the answers, not for a gibibyte of reserve
    again(**TAUGHT)
    assert weights(run) == weights(tmp_path / "whole" / "tiny")
    assert bool(built) == bool(first)


def test_where_kept_answers_do_not_fit_any_more_it_is_said(tmp_path, monkeypatch, again):
    stopped_behind(monkeypatch, again, "recover", **TAUGHT)
    run = tmp_path / "tiny"
    shutil.rmtree(run / "cache")
    monkeypatch.setattr(teaching, "free_bytes", lambda folder: 1000)
    with pytest.raises(RunError, match=r"recover began with the assistant's answers on the disk") as caught:
        again(**TAUGHT)
    assert "make room" in caught.value.mend and "GiB" in caught.value.mend
    monkeypatch.undo()
    assert again(**TAUGHT) == ["recover", "evaluate"]


def test_damaged_answers_are_asked_for_again(tmp_path, monkeypatch, again, caplog):
    again(tmp_path / "whole", **TAUGHT)
    stopped_behind(monkeypatch, again, "recover", **TAUGHT)
    [hidden] = (tmp_path / "tiny" / "cache").rglob("hidden.bin")
    content = bytearray(hidden.read_bytes())
    content[1000] ^= 64
    hidden.write_bytes(content)
    again(**TAUGHT)
    assert any("hidden.bin holds other bytes" in message for message in caplog.messages)
    assert weights(tmp_path / "tiny") == weights(tmp_path / "whole" / "tiny")


def test_threads_stay_those_that_it_began_with(run, again, monkeypatch):
    now = torch.get_num_threads()
    assert set(recorded(run)["threads"].values()) == {now}
    (run / "done.json").unlink()
    shutil.rmtree(run / "stages" / "3-evaluate")
    seen, before = [], pipeline._run_stage

    def look(context, *rest):
        seen.append(torch.get_num_threads())
        before(context, *rest)

    monkeypatch.setattr(pipeline, "_run_stage", look)
    torch.set_num_threads(now + 1)
    try:
        again()
    finally:
        torch.set_num_threads(now)
    assert seen == [now]


def test_another_number_of_processes_is_refused(run, again):
    record = recorded(run)
    (run / "done.json").unlink()
    shutil.rmtree(run / "stages" / "3-evaluate")
    (run / "computing.json").write_text(json.dumps(record | {"processes": 2}))
    with pytest.raises(RunError, match="began with 2 processes, and would go on with one process") as caught:
        again()
    assert "--num_processes 2" in caught.value.mend


@pytest.mark.parametrize(
    ("key", "name", "value"), [("hardware", "processor", "abacus"), ("versions", "torch", "0.1")]
)
def test_another_machine_is_warned_of_once(run, again, caplog, key, name, value):
    record = recorded(run)
    record[key][name] = value
    for _ in range(2):
        (run / "done.json").unlink()
        shutil.rmtree(run / "stages" / "3-evaluate")
        if not caplog.messages:
            (run / "computing.json").write_text(json.dumps(record))
        again()
    warned = [message for message in caplog.messages if "may differ in their last bits" in message]
    assert len(warned) == 1 and f"{name} {value}, not" in warned[0]


@pytest.mark.parametrize("began", [False, True])
def test_automatic_precision_stays_what_it_was(tmp_path, monkeypatch, began):
    monkeypatch.setattr(precision, "cpu_is_quicker_in_bfloat16", lambda: began)
    first = computing.Computing(tmp_path, {"finetune": 1}, writes=True)
    monkeypatch.setattr(precision, "cpu_is_quicker_in_bfloat16", lambda: not began)
    then = computing.Computing(tmp_path, {"finetune": 1}, writes=True)
    device = PartialState().device
    assert first.bfloat16 == then.bfloat16 == (began and device.type == "cpu")
    wide = torch.nn.Linear(512, 512)
    number = precision.autocast_dtype("auto", torch.device("cpu"), wide, then.bfloat16)
    assert number is (torch.bfloat16 if began else None)
