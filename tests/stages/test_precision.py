"""What is computed in bfloat16: what gains by it, and nothing that was asked for in another way."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from test_training import fit, make_context, make_model
from tiny import apply
from torch import nn
from transformers import BertConfig, BertModel, ElectraConfig, ElectraModel

from prunekit.distill import LiveTeacher
from prunekit.distill.losses.matched import Attention
from prunekit.exits import MultiExitForSequenceClassification
from prunekit.models import load_backbone
from prunekit.pruner import Pruner
from prunekit.recipes import load_recipe
from prunekit.stages.training import precision
from prunekit.stages.training.fit import Fitter
from prunekit.stages.training.matching import Matching
from prunekit.stages.training.objectives import Objective
from prunekit.stages.training.precision import autocast_dtype, multiply_adds_per_number
from prunekit.stages.training.teaching import teacher_of

CPU = torch.device("cpu")


@pytest.fixture
def hardware(monkeypatch):
    """A processor that is quicker in bfloat16."""
    monkeypatch.setattr(precision, "cpu_is_quicker_in_bfloat16", lambda: True)


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


def test_auto_is_float32_on_a_processor_that_is_no_quicker_in_bfloat16(monkeypatch):
    monkeypatch.setattr(precision, "cpu_is_quicker_in_bfloat16", lambda: False)
    assert autocast_dtype("auto", CPU, wide()) is None


@pytest.mark.parametrize(
    ("name", "level", "finds", "quicker"),
    [
        ("Intel(R) Xeon(R) Platinum 8488C", "AVX512", {"amx_tile", "avx512_bf16"}, True),
        ("Intel(R) Xeon(R) Platinum 8488C", "AVX512", {"avx512_bf16"}, False),  # AMX is hidden from a guest
        ("AMD EPYC 9R14", "AVX512", {"avx512_bf16"}, True),
        ("AMD EPYC 7R13", "AVX2", set(), False),
        ("AMD EPYC 9R14", "AVX2", {"avx512_bf16"}, False),  # PyTorch is told to do without AVX512
        ("AMD EPYC 9R14", "AVX512", None, False),  # PyTorch no longer says what it finds
    ],
)
def test_a_processor_is_quicker_in_bfloat16_with_amx_or_amd_s_units(monkeypatch, name, level, finds, quicker):
    monkeypatch.setattr(precision, "processor", lambda: name)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: level)
    for instructions in ("amx_tile", "avx512_bf16"):
        if finds is None:
            monkeypatch.delattr(torch.cpu, f"_is_{instructions}_supported")
        else:
            found = instructions in finds
            monkeypatch.setattr(torch.cpu, f"_is_{instructions}_supported", lambda found=found: found)
    assert precision.cpu_is_quicker_in_bfloat16() is quicker


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
def test_a_teacher_computes_in_its_own_numbers_whatever_its_caller_does(
    tmp_path, monkeypatch, hardware, callers, cache, own
):
    monkeypatch.setattr(precision, "WORTH_CASTING", 1e9 if own is None else 0)
    context = make_context(tmp_path, precision="auto")
    model = make_model(context)
    monkeypatch.setattr(type(context), "load", lambda self, role: model)
    fitter = Fitter(context)
    taught = SimpleNamespace(teacher="original", cache=cache, cache_precision="float32")
    batch = fitter.collate([fitter.train_rows[row] for row in range(8)])
    with torch.autocast("cpu", callers) if callers else nullcontext():
        said = teacher_of(context, fitter, taught)(batch).logits
    with torch.autocast("cpu", own) if own else nullcontext():
        expected = LiveTeacher(model)(batch).logits
    torch.testing.assert_close(said, expected, rtol=1e-5, atol=1e-6)


def test_a_live_teacher_answers_in_float32_and_its_attention_can_be_taught():
    torch.manual_seed(0)
    # ELECTRA projects its embedding, so that under autocast its hidden states are in bfloat16.
    sizes = {"vocab_size": 50, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    electra = ElectraModel(ElectraConfig(hidden_size=32, embedding_size=16, **sizes))
    teacher = MultiExitForSequenceClassification.from_backbone(electra, num_labels=2)
    live = LiveTeacher(teacher, lambda: torch.autocast("cpu", torch.bfloat16))
    bert = BertModel(BertConfig(hidden_size=16, **sizes), add_pooling_layer=False)
    student = MultiExitForSequenceClassification.from_backbone(bert, num_labels=2)
    ids = torch.randint(1, 50, (4, 6))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids[:, 0] % 2}
    said = live(batch, hidden_states=True)
    assert {said.exit_logits.dtype, *(state.dtype for state in said.hidden_states)} == {torch.float32}
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        inside = teacher(**batch, output_hidden_states=True).hidden_states
    assert torch.bfloat16 in {state.dtype for state in inside}
    matching = Matching(student, teacher, "last")
    assert torch.isfinite(Objective([matching.term(Attention())], live)(student, batch))


def test_every_model_of_a_run_computes_in_its_own_numbers(tmp_path, monkeypatch, hardware):
    seen = set()
    forward = MultiExitForSequenceClassification.forward

    def watched(self, *arguments, **options):
        seen.add((len(self.exits), torch.is_autocast_enabled("cpu")))
        return forward(self, *arguments, **options)

    # The original, with one exit, is to gain by bfloat16, the assistant that it teaches is not.
    monkeypatch.setattr(
        precision, "multiply_adds_per_number", lambda model: 99 if len(model.exits) == 1 else 9
    )
    monkeypatch.setattr(MultiExitForSequenceClassification, "forward", watched)
    apply(tmp_path, stages=["finetune", "assistant"], training={"precision": "auto"})
    assert seen == {(1, True), (2, False)}


def small(**sizes):
    """The built-in encoder with exits, slimmed."""
    torch.manual_seed(0)
    backbone = load_backbone(load_recipe("costeff").model, 536)
    model = MultiExitForSequenceClassification.from_backbone(backbone, num_labels=2)
    return slimmed(model, sizes) if sizes else model


def minilm(**sizes):
    config = BertConfig(
        vocab_size=1000, hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    backbone = BertModel(config, add_pooling_layer=False)
    return slimmed(MultiExitForSequenceClassification.from_backbone(backbone, num_labels=2), sizes)


def slimmed(model, sizes):
    Pruner(model, ["heads", "neurons", "rank"], "random", budget={"name": "sizes", **sizes}).step()
    return model


@pytest.mark.parametrize(
    ("model", "number"),
    [
        (small, torch.bfloat16),
        (lambda: small(heads=1, neurons=48, rank=32), None),
        (lambda: minilm(heads=2, neurons=128, rank=64), torch.bfloat16),
    ],
    ids=["built-in encoder", "built-in encoder, 8x", "MiniLM, 8x"],
)
def test_what_the_shipped_recipes_train_computes_in_what_was_measured_to_be_quicker(model, number, hardware):
    assert autocast_dtype("auto", CPU, model()) is number
