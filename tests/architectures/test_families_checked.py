"""Every family and task head against its own forward pass; adapters that are wrong are found out."""

from __future__ import annotations

import pytest
import torch
from family_table import BY_STRUCTURE, FAMILIES, REFUSED, bare, causal
from transformers import BertConfig, GPTNeoXConfig, LlamaConfig, Phi3Config, ViTConfig

from prunekit.architectures import architecture_of, recording, select_rows
from prunekit.architectures.bert import Bert
from prunekit.architectures.encoders import Deberta
from prunekit.architectures.gpt import GptNeoX
from prunekit.architectures.llama import Llama, Phi3
from prunekit.architectures.recording import Contexts
from prunekit.errors import UnsupportedModelError
from prunekit.exits import MultiExitForSequenceClassification
from prunekit.testing import CHECKS, check_architecture

SIZES = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 32,
}
BACKBONE = ("layers", "rows", "gradients", "exits", "onnx")


@pytest.mark.parametrize(
    ("family", "auto"),
    [
        pytest.param(name, auto, id=f"{name} {auto.__name__.removeprefix('AutoModelFor')}")
        for name, (_, autos) in FAMILIES.items()
        for auto in autos
    ],
)
def test_families(family, auto):
    make, autos = FAMILIES[family]
    config = make()
    config.num_labels = 2 if "QuestionAnswering" in auto.__name__ else 3
    # The backbone is the same below every head.
    report = check_architecture(config, auto=auto, skip=("onnx",) if auto is autos[0] else BACKBONE)
    assert {"cut", "saving"} <= set(report.held)
    assert auto is not causal or "generate" in report.held
    texts = not any(word in family for word in ("vit", "deit", "beit", "swin", "clip", "whisper"))
    assert not texts or "costs" in report.held
    if auto is autos[0]:
        assert {"layers", "rows", "gradients"} <= set(report.held)
        assert not texts or "exits" in report.held
        assert texts or family == "clip text" or "exits" in {line.check for line in report.skipped}


@pytest.mark.parametrize(
    "family", ["bert", "mpnet", "deberta-v2", "gpt2", "llama", "t5", "bart", "modernbert"]
)
def test_families_in_onnx(family):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    assert check_architecture(FAMILIES[family][0](), only=["onnx"]).held == ["onnx"]


@pytest.mark.parametrize("family", BY_STRUCTURE)
def test_families_by_structure(family):
    make, skip = BY_STRUCTURE[family]
    report = check_architecture(make(), skip=(*skip, "onnx"))
    assert report.adapter == "Structure"
    assert {"layers", "rows", "cut", "gradients", "saving"} <= set(report.held)


@pytest.mark.parametrize("family", REFUSED)
def test_families_that_are_refused(family):
    make, what = REFUSED[family]
    if what is None:
        with pytest.raises(UnsupportedModelError, match="is not laid out as an attention or FFN"):
            check_architecture(make())
        return
    report = check_architecture(make(), only=["cut"])
    assert report.held == ["cut"]  # its neurons
    assert any(line.what == what and "not understood" in line.reason for line in report.skipped)


def test_report():
    report = check_architecture(BertConfig(**SIZES), only=["costs"])
    assert report.held == ["costs"]
    assert {line.check for line in report.skipped} == set(CHECKS) - {"costs"}
    assert "multiply-adds" in repr(report) and "not asked for" in repr(report)
    with pytest.raises(ValueError, match="no check is called 'cost'"):
        check_architecture(BertConfig(**SIZES), only=["cost"])


def test_the_model_is_not_changed():
    model = bare.from_config(BertConfig(**SIZES))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.random.get_rng_state()
    check_architecture(model, only=["cut", "saving"])
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def broken(monkeypatch, family, config, words, **changes):
    for name, value in changes.items():
        monkeypatch.setattr(family, name, value)
    with pytest.raises(AssertionError) as caught:
        check_architecture(config, skip=["onnx"])
    message = str(caught.value)
    for word in words:
        assert word in message, message


def test_a_wrong_order_in_a_fused_matrix(monkeypatch):
    words = ["cut: heads, half: layers.0.heads", "removing is not hiding", "fused="]
    broken(monkeypatch, GptNeoX, GPTNeoXConfig(**SIZES), words, fused="blocks")


def test_a_count_that_is_forgotten(monkeypatch):
    words = ["cut: heads, half: the cut model does not run", "reads_config="]
    config = Phi3Config(**SIZES, num_key_value_heads=2, pad_token_id=0)
    broken(monkeypatch, Phi3, config, words, reads_config=())


def test_a_slice_that_is_forgotten(monkeypatch):
    original = Bert.blocks

    def blocks(self, layer):
        found = original(self, layer)
        for block in found:
            block.slices = [piece for piece in block.slices if piece.module is not block.output]
        return found

    words = ["cut: neurons, half: the cut model does not run"]
    broken(monkeypatch, Bert, BertConfig(**SIZES), words, blocks=blocks)


def test_a_model_that_is_said_to_be_causal(monkeypatch):
    words = ["exits: causal: the first token sees the others"]
    broken(monkeypatch, Bert, BertConfig(**SIZES), words, causal=True)


def test_a_norm_that_is_left_out(monkeypatch):
    words = ["layers: sdpa, no padding: finish()", "norm_path"]
    broken(monkeypatch, Llama, LlamaConfig(**SIZES), words, norm_path="")


def test_a_context_that_is_not_cut_to_rows(monkeypatch):
    def embed(self, backbone, inputs):
        hidden, contexts = super(Llama, self).embed(backbone, inputs)
        # A row's angles are given to the batch as if they were everybody's.
        return hidden, Contexts(contexts, lambda: list(contexts))

    words = ["rows: batch of 4: layer 1", "select_rows", "exits"]
    broken(monkeypatch, Llama, LlamaConfig(**SIZES), words, embed=embed)


def test_positions_of_the_wrong_side(monkeypatch):
    words = ["layers: sdpa, padding on the left: layer 1", "exits: padding on the left"]
    broken(monkeypatch, Bert, BertConfig(**SIZES), words, positions=lambda self, backbone, mask: None)


def test_a_cost_that_lies(monkeypatch):
    original = Llama.uses

    def uses(self, backbone, tokens):
        first = backbone.layers[0].mlp.down_proj
        return original(self, backbone, tokens) | {first: 1}

    words = ["costs: before a cut", "tracing counts", "layers.0.mlp.down_proj"]
    broken(monkeypatch, Llama, LlamaConfig(**SIZES), words, uses=uses)


def test_a_batch_that_is_as_large_as_something_else():
    """Of four rows beside four heads, and of sixteen beside a table of sixteen positions."""
    made, _ = REFUSED["mpt"]
    assert check_architecture(made(), only=["rows"]).held == ["rows"]
    model = bare.from_config(FAMILIES["deberta-v2"][0]()).eval()
    assert isinstance(architecture_of(model), Deberta)
    ids = torch.randint(5, 90, (16, 6))
    hidden, contexts = architecture_of(model).embed(model, {"input_ids": ids, "attention_mask": None})
    assert contexts[0]["rel_embeddings"].shape[0] == len(hidden) == 16
    some = select_rows(contexts, torch.tensor([0, 3]), 16)
    assert some[0]["rel_embeddings"].shape[0] == 16


@pytest.mark.parametrize("family", ["gpt2", "t5"])
def test_noting_inputs_draws_no_random_numbers(family):
    """So training goes on to the same bits in another process, whose first step this is."""
    model = bare.from_config(FAMILIES[family][0]()).train()
    inputs = {"input_ids": torch.full((2, 5), 7), "attention_mask": torch.ones(2, 5, dtype=torch.int64)}
    drawn = []
    for known in (False, True):
        if not known:
            recording._BESIDE.clear()
        torch.manual_seed(0)
        architecture_of(model).embed(model, inputs)
        drawn.append(torch.rand(1))
    assert torch.equal(*drawn)


@pytest.mark.parametrize("family", ["vit", "whisper", "clip"])
def test_exits_read_texts(family):
    model = bare.from_config(FAMILIES[family][0]())
    before = {name: id(p) for name, p in model.named_parameters()}
    with pytest.raises(UnsupportedModelError, match="exits read texts"):
        MultiExitForSequenceClassification.from_backbone(model)
    assert before == {name: id(p) for name, p in model.named_parameters()}


def test_inputs_of_ones_own():
    config = ViTConfig(
        **{k: v for k, v in SIZES.items() if "v" not in k and "max" not in k}, image_size=16, patch_size=8
    )
    report = check_architecture(config, {"pixel_values": torch.randn(3, 3, 16, 16)}, only=["cut", "costs"])
    assert report.held == ["cut", "costs"]
