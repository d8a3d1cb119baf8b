"""Where models come from, and what is said when they do not."""

from __future__ import annotations

import json

import pytest
import torch
from families import ENCODERS, backbone, batch
from transformers import BertForSequenceClassification

import prunekit
from prunekit.architectures import shape_of
from prunekit.data import word_tokenizer
from prunekit.errors import CheckpointError, RecipeError, UnsupportedModelError
from prunekit.exits import MultiExitForSequenceClassification
from prunekit.granularities import registry
from prunekit.models import ModelConfig, load_backbone, load_config, load_tokenizer, skeleton


def test_built_in_encoder_follows_the_seed_and_its_changes():
    model = ModelConfig(config={"hidden_size": 64, "num_hidden_layers": 2})
    torch.manual_seed(5)
    first = load_backbone(model, vocab_size=50)
    torch.manual_seed(5)
    second = load_backbone(model, vocab_size=50)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert (shape_of(first).vocab_size, shape_of(first).hidden_size, len(shape_of(first).layers)) == (
        50,
        64,
        2,
    )


def _spoilt(folder, file, **changes):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return ModelConfig(name=str(folder))


def test_damaged_files_give_one_message(tmp_path):
    backbone("bert").save_pretrained(tmp_path)
    word_tokenizer(["a word"]).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="cannot read the model"):
        load_tokenizer(_spoilt(tmp_path, "tokenizer.json", model={"type": "Unheard"}))
    with pytest.raises(CheckpointError, match="cannot read the model"):
        load_backbone(_spoilt(tmp_path, "config.json", hidden_size="wide"))


def test_weights_that_are_not_there_are_not_drawn(tmp_path):
    backbone("bert").save_pretrained(tmp_path)
    deeper = _spoilt(tmp_path, "config.json", num_hidden_layers=4)
    with pytest.raises(CheckpointError, match=r"lacks encoder\.layer\.3"):
        load_backbone(deeper)


def saved_bert(folder):
    """transformers' own classifier on a BERT, all weights random and large, as a folder."""
    torch.manual_seed(3)
    bert = BertForSequenceClassification(backbone("bert").config)
    for weight in bert.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    bert.save_pretrained(folder)
    return bert.eval()


def test_a_pooled_exit_that_reads_the_first_token_is_berts_own_classifier(tmp_path):
    bert, inputs = saved_bert(tmp_path), batch()
    model = MultiExitForSequenceClassification.from_backbone(
        load_backbone(ModelConfig(name=str(tmp_path))), num_labels=2, head="pooled", reads="first"
    ).eval()
    assert model.backbone.pooler is None
    model.exits[-1].classifier.load_state_dict(bert.classifier.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs, all_exits=True).logits, bert(**inputs).logits)
    # The others' poolers were trained with no layer.
    assert not any(torch.equal(head.dense.weight, bert.bert.pooler.dense.weight) for head in model.exits[:-1])


@pytest.mark.parametrize(
    "exits",
    [
        {"head": "pooled", "reads": "mean"},
        {"head": "pooled", "reads": "first", "exit_layers": [1]},
        {"head": "linear", "reads": "first"},
    ],
)
def test_other_exits_have_no_use_for_berts_pooler(tmp_path, exits):
    pooler = saved_bert(tmp_path).bert.pooler.dense.weight
    loaded = load_backbone(ModelConfig(name=str(tmp_path)))
    model = MultiExitForSequenceClassification.from_backbone(loaded, **exits)
    assert model.backbone.pooler is None
    assert not any(
        weight.shape == pooler.shape and torch.equal(weight, pooler) for weight in model.parameters()
    )


def test_a_pooler_that_the_checkpoint_lacks_is_not_drawn(tmp_path):
    bare = backbone("bert")
    bare.pooler = None
    bare.save_pretrained(tmp_path)
    assert load_backbone(ModelConfig(name=str(tmp_path))).pooler is None


@pytest.mark.parametrize("slimmed", [False, True])
def test_weights_stored_in_half_precision_are_trained_in_full(slimmed, tmp_path):
    original = backbone("bert").half()
    if slimmed:
        prunekit.save(original, tmp_path)
    else:
        original.save_pretrained(tmp_path)
    loaded = load_backbone(ModelConfig(name=str(tmp_path)))
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    whole = MultiExitForSequenceClassification.from_backbone(loaded)
    prunekit.save(whole, tmp_path / "exits")
    assert {p.dtype for p in prunekit.load(tmp_path / "exits").parameters()} == {torch.float32}


@pytest.mark.parametrize("family", ENCODERS)
def test_folder(family, tmp_path):
    original = backbone(family)
    original.save_pretrained(tmp_path)
    loaded = load_backbone(ModelConfig(name=str(tmp_path)))
    assert shape_of(loaded) == shape_of(original)
    # With the checkpoint's pooler, where the family has one.
    weights = loaded.state_dict()
    assert weights.keys() == original.state_dict().keys()
    assert all(torch.equal(weights[name], weight) for name, weight in original.state_dict().items())
    bare = skeleton(ModelConfig(name=str(tmp_path)))
    assert all(p.is_meta for p in bare.parameters())
    assert shape_of(bare) == shape_of(original)


def test_a_slimmed_model_can_be_started_from(tmp_path):
    model = MultiExitForSequenceClassification.from_backbone(backbone("bert"))
    for group in registry.build("heads").groups(model):
        group.keep(torch.tensor([0, 2]))
    prunekit.save(model, tmp_path / "m")
    config = ModelConfig(name=str(tmp_path / "m"))
    assert shape_of(load_backbone(config)) == shape_of(model)
    assert shape_of(skeleton(config)) == shape_of(model)


def test_messages(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="no such folder"):
        load_backbone(ModelConfig(name="nobody/nothing"))
    with pytest.raises(CheckpointError, match="no such folder"):
        load_tokenizer(ModelConfig(name="nobody/nothing"))
    # What can only be a folder is not looked for on the hub, whose error would be told.
    for name in (str(tmp_path / "gone"), "./gone", "../gone", "~/gone", "a/b/gone"):
        with pytest.raises(CheckpointError, match=r"there is no such folder\n"):
            load_backbone(ModelConfig(name=name))
    with pytest.raises(RecipeError, match="builtin:small-encoder"):
        load_config(ModelConfig(name="builtin:giant"))
    with pytest.raises(RecipeError, match="no such setting"):
        load_config(ModelConfig(config={"hiden_size": 3}))
    with pytest.raises(RecipeError, match="do not divide"):
        load_config(ModelConfig(config={"num_attention_heads": 7}))
    (tmp_path / "config.json").write_text('{"model_type": "mamba", "num_hidden_layers": 1, "hidden_size": 8}')
    with pytest.raises(UnsupportedModelError, match="MambaModel"):
        skeleton(ModelConfig(name=str(tmp_path), attention="eager"))
    (tmp_path / "config.json").write_text('{"model_type": "bert"')
    with pytest.raises(CheckpointError, match="is not JSON"):
        load_config(ModelConfig(name=str(tmp_path)))
