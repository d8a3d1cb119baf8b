"""What is computed in bfloat16: what gains by it, and nothing that was asked for in another way."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from test_training import fit, make_context, make_model
from torch import nn

from prunekit.distill import LiveTeacher
from prunekit.stages.training import precision
from prunekit.stages.training.fit import Fitter
from prunekit.stages.training.precision import autocast_dtype, multiply_adds_per_number
from prunekit.stages.training.teaching import teacher_of

CPU = torch.device("cpu")


@pytest.fixture
def hardware(monkeypatch):
    """A processor that computes in bfloat16."""
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: True)


def wide():
    return nn.Linear(128, 128)  # 64 multiply-adds for each number


def narrow():
    return nn.Linear(128, 16)  # 14


def test_multiply_adds_are_counted_over_the_linear_layers_alone():
    model = nn.Sequential(nn.Embedding(1000, 4), nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 2, bias=False))
    assert multiply_adds_per_number(model) == (4 * 6 + 6 * 2) / (4 + 6 + 6 + 2)
    assert multiply_adds_per_number(nn.Embedding(10, 4)) == 0


def test_auto_is_bfloat16_for_models_that_gain_by_it(hardware):
    assert autocast_dtype("auto", CPU, wide()) is torch.bfloat16
    assert autocast_dtype("auto", CPU, narrow()) is None


def test_auto_is_float32_on_a_processor_without_bfloat16(monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: False)
    assert autocast_dtype("auto", CPU, wide()) is None


@pytest.mark.parametrize("model", [wide(), narrow()], ids=["wide", "narrow"])
def test_what_is_asked_for_is_done(model, hardware):
    assert autocast_dtype("float32", CPU, model) is None
    assert autocast_dtype("bfloat16", CPU, model) is torch.bfloat16


def numbers_of(model, run):
    """What a model's exits are computed in meanwhile, training and evaluating apart."""
    seen = set()
    hooks = [
        layer.register_forward_hook(lambda module, inputs, output: seen.add((model.training, output.dtype)))
        for layer in model.exits.modules()
        if isinstance(layer, nn.Linear)
    ]
    run()
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize(("break_even", "number"), [(0, torch.bfloat16), (1e9, torch.float32)])
def test_a_training_run_and_its_validation_follow_the_model(
    tmp_path, monkeypatch, hardware, break_even, number
):
    monkeypatch.setattr(precision, "WORTH_CASTING", break_even)
    context = make_context(tmp_path, precision="auto")
    model = make_model(context)
    assert numbers_of(model, lambda: fit(context, model, epochs=1)) == {(True, number), (False, number)}


@pytest.mark.parametrize("callers", [None, torch.bfloat16])
@pytest.mark.parametrize("cache", ["off", "on"])
@pytest.mark.parametrize("own", [None, torch.bfloat16])
def test_a_teacher_computes_in_its_own_numbers_whatever_its_student_does(
    tmp_path, monkeypatch, hardware, callers, cache, own
):
    monkeypatch.setattr(precision, "WORTH_CASTING", 1e9 if own is None else 0)
    context = make_context(tmp_path, precision="auto")
    model = make_model(context)
    monkeypatch.setattr(type(context), "load", lambda self, role: model)
    fitter = Fitter(context)
    taught = SimpleNamespace(teacher="original", cache=cache, cache_precision="float32")
    teacher = teacher_of(context, fitter, taught)
    batch = fitter.collate([fitter.train_rows[row] for row in range(8)])
    with torch.autocast("cpu", callers) if callers else nullcontext():
        said = teacher(batch).logits
    with torch.autocast("cpu", own) if own else nullcontext():
        expected = LiveTeacher(model)(batch).logits
    torch.testing.assert_close(said.float(), expected.float(), rtol=1e-5, atol=1e-6)
