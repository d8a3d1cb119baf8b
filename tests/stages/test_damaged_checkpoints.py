"""What is damaged of a training that was stopped is left out: it ends in the same bits, nothing is run."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import tiny
import torch
from test_training import make_context, make_model

from prunekit.errors import RunError
from prunekit.stages.base import StageContext
from prunekit.stages.slenderize import Slenderize
from prunekit.stages.training import checkpoints
from prunekit.stages.training.fit import Fitter
from prunekit.stages.training.objectives import Objective, truth
from prunekit.stages.training.trainer import StageTrainer


class Stopped(Exception):
    pass


SCORES = [0.9, 0.5, 0.6, 0.7]


def fit(context, model, stop=None):
    """Four epochs of which the first is the best; stopped before a step."""
    fitter = Fitter(context)
    fitter.validate = lambda model: {"score": SCORES[fitter.trainer_step() // 7 - 1], "last": 0.0}
    train, steps = StageTrainer.training_step, []
    fitter.trainer_step = lambda: steps[-1] + 1

    def step(self, *arguments, **options):
        steps.append(self.state.global_step)
        if stop is not None and self.state.global_step == stop:
            raise Stopped
        return train(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StageTrainer, "training_step", step)
        result = fitter.fit(model, Objective([truth()]), phase="train", learning_rate=1e-3, epochs=4)
    return result, steps


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What an unbroken training ends with."""
    context = make_context(tmp_path_factory.mktemp("whole"), checkpoint_seconds=0)
    model = make_model(context)
    result, _ = fit(context, model)
    return result, {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture
def stopped(tmp_path):
    """A training that was stopped behind step 17; its checkpoints are 7, the best one, and 17."""
    context = make_context(tmp_path, checkpoint_seconds=0)
    with pytest.raises(Stopped):
        fit(context, make_model(context), stop=17)
    folder = context.folder / "work" / "train"
    assert list(checkpoints.checkpoints(folder)) == [7, 17]
    return context, folder


def goes_on(context, whole):
    model = make_model(context)
    result, steps = fit(context, model)
    assert result == whole[0]
    for name, value in model.state_dict().items():
        assert torch.equal(value, whole[1][name]), name
    return steps[0]


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 8
    file.write_bytes(content)


def cut(file):
    file.write_bytes(file.read_bytes()[:-9])


HARM = [
    (cut, "model.safetensors"), (flip, "model.safetensors"), (flip, "optimizer.pt"), (cut, "optimizer.pt"),
    (Path.unlink, "scheduler.pt"), (flip, "trainer_state.json"), (cut, "complete.json"),
    (lambda file: file.write_bytes(b"[]"), "complete.json"),
    (lambda file: file.write_bytes(b"\xff"), "complete.json"),
    (lambda file: file.write_bytes(b'{"files": ["model.safetensors"]}'), "complete.json"),
    (lambda file: file.write_bytes(b"more"), "pytorch_model.bin"),
    (lambda file: file.mkdir(), "pytorch_model_fsdp_0"),
]  # fmt: skip


@pytest.mark.parametrize(("harm", "name"), HARM)
def test_it_goes_on_from_the_one_before(stopped, whole, caplog, harm, name):
    context, folder = stopped
    if name == "pytorch_model_fsdp_0":
        (folder / "checkpoint-17" / name).mkdir()
        harm, name = (lambda file: file.write_bytes(b"x")), f"{name}/x"
    harm(folder / "checkpoint-17" / name)
    assert goes_on(context, whole) == 7
    [line] = [message for message in caplog.messages if "is removed" in message]
    assert "checkpoint-17" in line and name in line


def test_without_the_best_one_it_begins_anew(stopped, whole, caplog):
    context, folder = stopped
    flip(folder / "checkpoint-7" / "model.safetensors")
    assert goes_on(context, whole) == 0
    assert sum("is removed" in message for message in caplog.messages) == 2


@pytest.mark.parametrize("content", [b"{bad", b"[]", b'{"nothing": 1}', b'{"global_step": 16}', b"\xff"])
def test_a_state_that_is_none_though_sealed(stopped, whole, content):
    context, folder = stopped
    (folder / "checkpoint-17" / "trainer_state.json").write_bytes(content)
    checkpoints.mark_complete(folder / "checkpoint-17")
    assert goes_on(context, whole) == 7


class Hostile:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (Path.write_text, (Path(self.target), "ran"))


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt"])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_hostile_checkpoint_is_refused_and_not_run(stopped, tmp_path, name, zipped):
    context, folder = stopped
    ran, place = tmp_path / "ran", folder / "checkpoint-17"
    if zipped:
        torch.save({"state": Hostile(ran)}, place / name)
    else:
        (place / name).write_bytes(pickle.dumps(Hostile(ran)))
    checkpoints.mark_complete(place)
    with pytest.raises(RunError, match=r"checkpoint-17 does not hold what it should") as caught:
        fit(context, make_model(context))
    assert not ran.exists()
    assert "remove this folder" in caught.value.mend
    shutil.rmtree(place)
    fit(context, make_model(context))


def test_weights_of_another_model_are_refused(stopped):
    from safetensors.torch import load_file, save_file

    context, folder = stopped
    place = folder / "checkpoint-17"
    weights = load_file(place / "model.safetensors")
    save_file({name: value[:1] for name, value in weights.items()}, place / "model.safetensors")
    checkpoints.mark_complete(place)
    with pytest.raises(RunError, match=r"checkpoint-17 does not hold what it should"):
        fit(context, make_model(context))


# -- parts


@pytest.mark.parametrize(
    ("harm", "name"), [(flip, "model.safetensors"), (cut, "record.json"), (Path.unlink, "complete.json")]
)
def test_a_damaged_part_is_made_again(tmp_path, tiny_run, caplog, harm, name):
    """Slenderize was stopped behind its first step."""
    publish = StageContext.clean_parts

    def stop(self, *names):
        publish(self, *names)
        raise Stopped

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(StageContext, "clean_parts", stop)
        tiny.apply(tmp_path)
    [part] = tmp_path.glob("tiny/stages/3-slenderize/parts/*")
    harm(part / name)
    steps, make = [], Slenderize._step

    def step(self, context, fitter, teacher, model, before):
        steps.append(before["step"] + 1)
        return make(self, context, fitter, teacher, model, before)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Slenderize, "_step", step)
        tiny.apply(tmp_path)
    assert steps == [1, 2]
    assert any("the part step-001 is made again" in message for message in caplog.messages)
    one, other = (
        json.loads((run / "stages/3-slenderize/done.json").read_text())["files"]
        for run in (tmp_path / "tiny", tiny_run)
    )
    assert one == other
