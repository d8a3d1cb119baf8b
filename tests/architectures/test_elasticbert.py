"""Checkpoints in ElasticBERT's layout, written here, load as the BERT they are."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest
import torch
from families import SIZES, batch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, BertModel

from prunekit.checkpoints import load
from prunekit.errors import CheckpointError, UnsupportedModelError
from prunekit.exits import MultiExitForSequenceClassification
from prunekit.exits.heads.linear import LinearHead
from prunekit.models import ModelConfig, load_backbone, load_config, load_tokenizer, skeleton

sys.path.insert(0, str(Path(__file__).parents[1] / "stages"))

LAYERS = SIZES["num_hidden_layers"]


def write(folder, drop=(), add=None, **described):
    """A folder in the layout of fnlp/elasticbert-base, and the tensors in it."""
    torch.manual_seed(0)
    config = BertConfig(**SIZES, initializer_range=0.3)
    model = BertForMaskedLM(config)
    tensors = {}
    for name, tensor in model.state_dict().items():
        inner = name.startswith("bert.")
        tensors["elasticbert." + name[5:] if inner else name] = tensor.clone()
    for i in range(LAYERS):
        tensors[f"elasticbert.encoder.pooler.{i}.dense.weight"] = torch.randn(32, 32)
        tensors[f"elasticbert.encoder.pooler.{i}.dense.bias"] = torch.randn(32)
    tensors["elasticbert.embeddings.position_ids"] = torch.arange(64)[None]
    tensors.pop("cls.predictions.decoder.weight")  # tied
    tensors.update(add or {})
    tensors = {name: t for name, t in tensors.items() if not any(part in name for part in drop)}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    own = {
        "model_type": "elasticbert", "architectures": ["ElasticBertForMaskedLM"], "max_output_layers": LAYERS,
        "num_output_layers": 1, "gradient_checkpointing": False, "position_embedding_type": "absolute",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps({**config.to_dict(), **own, **described}))
    letters = [chr(ord("a") + i) for i in range(26)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "food", "was", "good", *letters]
    words += ["##" + letter for letter in letters]
    (folder / "vocab.txt").write_text("\n".join(words + [f"w{i}" for i in range(90 - len(words))]))
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True}))
    return tensors


def expected(tensors, layers=LAYERS):
    """The same encoder made by hand."""
    model = BertModel(BertConfig(**{**SIZES, "num_hidden_layers": layers}), add_pooling_layer=False).eval()
    inner = {name.removeprefix("elasticbert."): t for name, t in tensors.items() if ".pooler." not in name}
    model.load_state_dict({name: inner[name] for name in model.state_dict()})
    return model


def test_it_loads_as_the_bert_it_is(tmp_path, caplog):
    tensors = write(tmp_path / "model")
    model = ModelConfig(name=str(tmp_path / "model"))
    with caplog.at_level(logging.INFO):
        backbone = load_backbone(model)
    assert type(backbone) is BertModel and type(load_config(model)) is BertConfig
    inputs = batch()
    hand = expected(tensors)(**inputs).last_hidden_state
    assert torch.equal(backbone.eval()(**inputs).last_hidden_state, hand)
    assert set(backbone.state_dict()) == set(expected(tensors).state_dict())
    assert "its heads are not used (cls)" in caplog.text
    assert sum(p.numel() for p in skeleton(model).parameters()) == sum(
        p.numel() for p in backbone.parameters()
    )
    assert load_tokenizer(model)("The food was good")["input_ids"] == [2, 5, 6, 7, 8, 3]


def test_pytorch_files_hold_tensors_alone(tmp_path):
    tensors = write(tmp_path / "model")
    (tmp_path / "model/model.safetensors").unlink()
    torch.save(tensors, tmp_path / "model/pytorch_model.bin")
    backbone = load_backbone(ModelConfig(name=str(tmp_path / "model")))
    assert torch.equal(
        backbone.embeddings.word_embeddings.weight, tensors["elasticbert.embeddings.word_embeddings.weight"]
    )


def test_its_poolers_start_pooled_exits(tmp_path, caplog):
    tensors = write(tmp_path / "model")
    model = ModelConfig(name=str(tmp_path / "model"))
    with caplog.at_level(logging.INFO):
        pooled = MultiExitForSequenceClassification.from_backbone(
            load_backbone(model), head="pooled", exit_layers=[1, 3]
        )
    for exit_, number in zip(pooled.exits, (0, 2), strict=True):
        for name in ("weight", "bias"):
            trained = tensors[f"elasticbert.encoder.pooler.{number}.dense.{name}"]
            assert torch.equal(getattr(exit_.dense, name), trained)
    assert "exits on layers 1, 3 begin with the checkpoint's poolers" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO):
        linear = MultiExitForSequenceClassification.from_backbone(load_backbone(model))
    assert all(isinstance(exit_, LinearHead) for exit_ in linear.exits)
    assert "poolers are dropped" in caplog.text
    linear.save_pretrained(tmp_path / "saved")
    assert not any("pooler" in name for name in load_file(tmp_path / "saved/model.safetensors"))
    assert torch.equal(load(tmp_path / "saved")(**batch()).logits, linear.eval()(**batch()).logits)


def test_its_first_layers_can_be_all_there_is(tmp_path, caplog):
    tensors = write(tmp_path / "model")
    model = ModelConfig(name=str(tmp_path / "model"), config={"num_hidden_layers": 2})
    with caplog.at_level(logging.INFO):
        backbone = load_backbone(model).eval()
    hand = expected(tensors, 2)(**batch()).last_hidden_state
    assert torch.equal(backbone(**batch()).last_hidden_state, hand)
    assert "layers behind the first 2 are not used" in caplog.text


def test_poolers_on_some_layers_only(tmp_path):
    write(tmp_path / "model", drop=["pooler.0."])
    exits = MultiExitForSequenceClassification.from_backbone(
        load_backbone(ModelConfig(name=str(tmp_path / "model"))), head="pooled"
    ).exits
    assert [bool(exit_.dense.bias.any()) for exit_ in exits] == [False, True, True]


def test_a_bare_model_without_heads_and_prefix_loads(tmp_path):
    tensors = write(tmp_path / "model", architectures=["ElasticBertModel"])
    bare = {n.removeprefix("elasticbert."): t for n, t in tensors.items() if n.startswith("elasticbert.")}
    save_file(bare, tmp_path / "model/model.safetensors", {"format": "pt"})
    backbone = load_backbone(ModelConfig(name=str(tmp_path / "model"))).eval()
    hand = expected(tensors)(**batch()).last_hidden_state
    assert torch.equal(backbone(**batch()).last_hidden_state, hand)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"add": {"elasticbert.encoder.layer.0.gate.weight": torch.ones(2)}}, "layer.0.gate.weight"),
        ({"add": {"elasticbert.adapters.weight": torch.ones(2)}}, "elasticbert.adapters.weight"),
        ({"architectures": ["ElasticBertModel"]}, "cls.predictions"),
        ({"drop": ["layer.1.output.dense.bias"]}, "lacks encoder.layer.1.output.dense.bias"),
        ({"drop": ["pooler.1.dense.bias"]}, "lacks encoder.pooler.1.dense.bias"),
        ({"drop": ["word_embeddings"]}, "lacks embeddings.word_embeddings.weight"),
    ],
)
def test_what_does_not_belong_or_is_missing_is_an_error(changes, words, tmp_path):
    write(tmp_path / "model", **changes)
    with pytest.raises(CheckpointError, match=words.replace(".", r"\.")):
        load_backbone(ModelConfig(name=str(tmp_path / "model")))


def test_positions_that_bert_lacks_are_refused(tmp_path):
    write(tmp_path / "model", position_embedding_type="relative_key")
    with pytest.raises(UnsupportedModelError, match="relative_key"):
        load_config(ModelConfig(name=str(tmp_path / "model")))


def test_it_is_a_backbone_of_cost_eff(tmp_path):
    from tiny import apply

    write(tmp_path / "model")
    folder = apply(
        tmp_path, model={"name": str(tmp_path / "model"), "config": {}},
        exits={"head": "pooled", "reads": "first"}, training={"max_length": 32},
        finetune={"epochs": 0.5}, assistant={"epochs": 0.5},
        recover={"epochs": 0.5, "features_epochs": 0.5},
    )  # fmt: skip
    final = load(folder / "model")
    assert final.config.backbone.model_type == "bert" and final.config.exit_layers == [1, 2, 3]
