"""Folders of others: nothing of theirs is run, nothing is fetched, and what contradicts itself is refused."""

from __future__ import annotations

import io
import json
import socket
import sys

import pytest
import torch
from families import backbone
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

import prunekit
from prunekit import checkpoints, pretrained
from prunekit.data import word_tokenizer
from prunekit.errors import CheckpointError, PrunekitError, RecipeError, UnsupportedModelError
from prunekit.exits import MultiExitForSequenceClassification
from prunekit.models import ModelConfig, load_backbone, load_config, load_tokenizer, skeleton


@pytest.fixture
def tokenizer():
    return word_tokenizer(["one two three four five"])


@pytest.fixture
def model(tmp_path, tokenizer):
    """The folder of a model with exits."""
    made = MultiExitForSequenceClassification.from_backbone(backbone("bert"), num_labels=2, reads="mean")
    made.set_exit_policy({"name": "entropy", "threshold": 0.4})
    return checkpoints.save(made, tmp_path / "model", tokenizer)


@pytest.fixture
def plain(tmp_path, tokenizer):
    """The folder of a plain BERT."""
    backbone("bert").save_pretrained(tmp_path / "plain")
    tokenizer.save_pretrained(tmp_path / "plain")
    return tmp_path / "plain"


def change(file, **values):
    data = json.loads(file.read_text())
    for key, value in values.items():
        inner, *rest = key.split("__")
        if rest:
            data[inner][rest[0]] = value
        else:
            data[inner] = value
    file.write_text(json.dumps(data))


EVIL = """\
import pathlib
pathlib.Path({mark!r}).touch()
from transformers import BertConfig, PreTrainedTokenizerFast
class C(BertConfig):
    model_type = "evil"
class T(PreTrainedTokenizerFast):
    pass
class P:
    pass
"""


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """A file that a module called evil makes when it is run; it lies where one works, and in the folders."""
    mark = tmp_path / "was-run"
    (tmp_path / "evil.py").write_text(EVIL.format(mark=str(mark)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\ny\ny\ny\n"))
    yield mark
    assert not mark.exists(), "code of a folder was run"
    assert "evil" not in sys.modules


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """No address is looked up and nothing is connected to."""

    def refuse(*arguments, **_):
        raise AssertionError(f"the network was asked for: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def test_code_of_a_folder_is_not_run_whatever_standard_input_says(plain, model, tokenizer, mark, tmp_path):
    for folder in (plain, model):
        (folder / "evil.py").write_text((tmp_path / "evil.py").read_text())
    change(plain / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.C", "AutoModel": "evil.M"})
    for read in (load_config, load_backbone, skeleton):
        with pytest.raises(PrunekitError):
            read(ModelConfig(name=str(plain)))
    change(
        model / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", "evil.T"]}, tokenizer_class="T"
    )
    with pytest.raises(UnsupportedModelError, match="code of its own"):
        pretrained.read_tokenizer(model)
    change(model / "config.json", backbone__auto_map={"AutoModel": "evil.M", "AutoConfig": "evil.C"})
    checkpoints.load(model)


@pytest.mark.parametrize("key", ["exit_head", "exit_policy"])
@pytest.mark.parametrize("path", ["evil:P", "antigravity:P", ".evil:P", "evil.x:P", ":", "evil:"])
def test_a_folder_imports_nothing(model, mark, key, path):
    change(model / "config.json", **{key: path if key == "exit_head" else {"name": path}})
    with pytest.raises(CheckpointError, match=r"import"):
        checkpoints.load(model)
    with pytest.raises((PrunekitError, ValueError)):
        AutoModelForSequenceClassification.from_pretrained(model)
    assert "antigravity" not in sys.modules


def test_a_head_of_ones_own_loads_once_its_module_is_imported(tmp_path, tokenizer, monkeypatch):
    (tmp_path / "my_heads.py").write_text(
        "from prunekit.exits import ExitHead\nclass Mine(ExitHead):\n    '''Mine.'''\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    made = MultiExitForSequenceClassification.from_backbone(backbone("bert"), head="my_heads:Mine")
    folder = checkpoints.save(made, tmp_path / "m")
    assert type(checkpoints.load(folder).exits[0]).__name__ == "Mine"
    del sys.modules["my_heads"]
    with pytest.raises(CheckpointError, match="--import my_heads"):
        checkpoints.load(folder)


@pytest.mark.parametrize(
    "layers",
    [[5], [5, 6], [0, 2], [-1, 3], [3, 1], [1, 1, 3], [1, 2], [], ["1", "3"], "all", 3, None, [1.0, 3.0]],
)
def test_exits_that_the_model_does_not_have_are_refused(model, layers):
    change(model / "config.json", exit_layers=layers)
    with pytest.raises(CheckpointError, match="exit_layers"):
        checkpoints.load(model)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("exit_reads", "second"),
        ("exit_reads", 3),
        ("exit_head", 3),
        ("exit_head", "nothing"),
        ("exit_dropout", 1.0),
        ("exit_dropout", "0.1"),
        ("exit_norm", "yes"),
        ("exit_certainty", 1),
        ("exit_policy", "entropy"),
        ("exit_policy", {"threshold": 1}),
        ("exit_policy", {"name": "entropy", "limit": 1}),
        ("exit_policy", {"name": "nothing"}),
        ("exit_policy", {"name": "learned"}),
        ("exit_guarantee", 3),
        ("exit_guarantee", {"policy": None}),
        ("id2label", {"0": "a", "2": "b"}),
        ("id2label", {"0": 1, "1": 2}),
        ("backbone", None),
        ("backbone", 3),
        ("backbone", {"model_type": "nothing"}),
        ("shape", 3),
        ("shape", {}),
        ("backbone__hidden_size", -16),
        ("backbone__hidden_size", "x"),
        ("backbone__num_attention_heads", 0),
        ("backbone__num_hidden_layers", 100_000_000),
        ("backbone__num_hidden_layers", 2),
        ("backbone__hidden_act", "evil"),
        ("num_labels", 1_000_000_000),
    ],
)
def test_a_configuration_that_lies_is_refused_in_one_message(model, key, value):
    change(model / "config.json", **{key: value})
    with pytest.raises(CheckpointError) as refused:
        checkpoints.load(model)
    assert str(model) in refused.value.message


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(
        [
            "exit_layers",
            "exit_head",
            "exit_reads",
            "exit_dropout",
            "exit_policy",
            "exit_guarantee",
            "shape",
            "id2label",
        ]
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    ),
)
def test_any_value_loads_or_is_refused(tmp_path_factory, key, value):
    folder = tmp_path_factory.getbasetemp() / "any"
    if not folder.exists():
        made = MultiExitForSequenceClassification.from_backbone(backbone("bert"), num_labels=2, reads="mean")
        checkpoints.save(made, folder)
    before = (folder / "config.json").read_text()
    change(folder / "config.json", **{key: value})
    try:
        checkpoints.load(folder)(torch.tensor([[5, 6]]))
    except CheckpointError:
        pass
    finally:
        (folder / "config.json").write_text(before)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused(model, plain, value):
    for folder, name in ((model, "exits.1.classifier.weight"), (plain, "encoder.layer.0.output.dense.bias")):
        weights = load_file(folder / "model.safetensors")
        weights[name].view(-1)[1] = value
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"exits\.1\.classifier\.weight"):
        checkpoints.load(model)
    with pytest.raises(CheckpointError, match=r"encoder\.layer\.0\.output\.dense\.bias"):
        load_backbone(ModelConfig(name=str(plain)))


def test_weights_of_another_model_are_refused(model):
    weights = load_file(model / "model.safetensors")
    save_file(
        {**weights, "exits.7.classifier.bias": torch.zeros(2)}, model / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(CheckpointError, match=r"also holds exits\.7"):
        checkpoints.load(model)
    del weights["exits.1.classifier.bias"]
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks exits\.1"):
        checkpoints.load(model)


@pytest.mark.parametrize(("prefix", "word"), [("module.", "module"), ("_orig_mod.", "_orig_mod")])
def test_weights_of_a_wrapped_model_are_called_that(plain, prefix, word):
    weights = load_file(plain / "model.safetensors")
    save_file({prefix + k: v for k, v in weights.items()}, plain / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=word) as refused:
        load_backbone(ModelConfig(name=str(plain)))
    assert "copy" not in str(refused.value)


def test_an_adapter_is_called_that(plain):
    (plain / "adapter_config.json").write_text('{"base_model_name_or_path": "some/model"}')
    for read in (load_config, load_backbone, load_tokenizer):
        with pytest.raises(CheckpointError, match="adapter"):
            read(ModelConfig(name=str(plain)))


def test_a_sharded_folder_loads(model, tmp_path):
    whole = checkpoints.load(model)
    whole.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    assert not (tmp_path / "sharded" / "model.safetensors").exists()
    again, ids = checkpoints.load(tmp_path / "sharded"), torch.tensor([[5, 6, 7]])
    assert torch.equal(again(ids, all_exits=True).exit_logits, whole(ids, all_exits=True).exit_logits)


@pytest.mark.parametrize("value", [-1, 0, "x", True, [512], float("nan")])
def test_a_tokenizer_that_lies_is_refused(plain, value):
    change(plain / "tokenizer_config.json", model_max_length=value)
    with pytest.raises(CheckpointError, match=r"model_max_length|cannot read"):
        pretrained.read_tokenizer(plain)


def test_a_tokenizer_without_a_mask_gives_one(plain, tmp_path):
    change(plain / "tokenizer_config.json", model_input_names=["input_ids"])
    tokenizer = load_tokenizer(ModelConfig(name=str(plain)))
    said = tokenizer(["one", "one two three"], padding=True)
    assert said["attention_mask"] == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    tokenizer.save_pretrained(tmp_path / "again")
    from transformers import AutoTokenizer

    assert "attention_mask" in AutoTokenizer.from_pretrained(tmp_path / "again")("one")


def test_the_end_of_text_pads_where_nothing_else_does(plain, caplog):
    change(plain / "tokenizer_config.json", pad_token=None)
    with pytest.raises(CheckpointError, match="no padding token"):
        load_tokenizer(ModelConfig(name=str(plain)))
    change(plain / "tokenizer_config.json", eos_token="[SEP]")
    with caplog.at_level("WARNING", logger="prunekit"):
        assert load_tokenizer(ModelConfig(name=str(plain))).pad_token == "[SEP]"
    assert "[SEP]" in caplog.text


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "no JSON object"),
        (b"3", "no JSON object"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"[" * 100_000, "not JSON"),
        (b"\x00" * 50, "not JSON"),
        (b'{"model_type": "bert", "num_labels": 10000000000}', "num_labels"),
        (b'{"model_type": "bert", "num_hidden_layers": 1000000000}', "num_hidden_layers"),
        (b'{"model_type": "t5", "num_decoder_layers": 1000000000}', "num_decoder_layers"),
        (b'{"model_type": "mixtral", "num_local_experts": 1000000000}', "num_local_experts"),
        (b'{"model_type": "bert", "vocab_size": 100000000000000000}', "vocab_size"),
    ],
)
def test_a_config_json_that_cannot_be_read_names_the_file(plain, content, part):
    (plain / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=part) as refused:
        load_config(ModelConfig(name=str(plain)))
    assert "config.json" in refused.value.message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "abc"),
        ("hidden_size", "abc"),
        ("hidden_size", -16),
        ("num_hidden_layers", -1),
        ("num_hidden_layers", 0),
        ("num_hidden_layers", 1.5),
        ("num_attention_heads", 0),
        ("hidden_size", None),
        ("hidden_dropout_prob", 2),
        ("layer_norm_eps", "abc"),
        ("pad_token_id", 10_000_000),
        ("vocab_size", -1),
        ("max_position_embeddings", -5),
        ("add_cross_attention", True),
        ("is_decoder", True),
        ("id2label", 1),
        ("dtype", "abc"),
        ("__class__", 1),
        ("attribute_map", 1),
        ("_attn_implementation", "foo"),
        ("to_dict", 1),
        ("model_type", "gpt2"),
        ("num_hidden_layers", 10**9),
        ("architectures", 3),
        ("", 1),
        ("hidden_size", [16]),
    ],
)
def test_settings_of_the_model_that_do_not_fit_are_the_recipes_fault(key, value):
    with pytest.raises((RecipeError, CheckpointError, UnsupportedModelError)):
        skeleton(ModelConfig(config={key: value}), vocab_size=50)


def test_whole_numbers_are_numbers():
    config = load_config(ModelConfig(config={"layer_norm_eps": 1, "hidden_dropout_prob": 0}), 50)
    assert (config.layer_norm_eps, config.hidden_dropout_prob) == (1.0, 0.0)


def test_attention_that_a_family_lacks_is_said(monkeypatch):
    from transformers import BertModel

    monkeypatch.setattr(BertModel, "_supports_sdpa", False)
    monkeypatch.setattr(BertModel, "_supports_attention_backend", False)
    with pytest.raises(RecipeError, match=r"set model\.attention=eager"):
        skeleton(ModelConfig(), vocab_size=50)


def test_the_network_is_there_again_after_a_folder_was_read(plain):
    from huggingface_hub import constants

    load_backbone(ModelConfig(name=str(plain)))
    assert constants.HF_HUB_OFFLINE is False
    assert prunekit.__version__


def test_a_head_that_no_configuration_can_make_is_the_configurations_fault():
    from prunekit.models import built

    config = load_config(ModelConfig(), 50)
    config.classifier_dropout = 1.5
    with pytest.raises(RecipeError, match="dropout probability"):
        built(ModelConfig(), config, AutoModelForSequenceClassification)
