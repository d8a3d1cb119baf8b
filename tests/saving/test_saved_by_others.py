"""A pruned model is saved and read by everything that saves and reads models of transformers."""

from __future__ import annotations

import copy
import json

import pytest
import torch
import transformers
from family_inputs import pruned, run
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
)

import prunekit
from prunekit.errors import CheckpointError, UnsupportedModelError
from prunekit.groups import SlicedGroup
from prunekit.sizes import recorded

AUTOS = [
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoModelForQuestionAnswering,
    AutoModelForMaskedLM,
]


@pytest.mark.parametrize("way", ["save", "save_pretrained"])
@pytest.mark.parametrize("auto", AUTOS, ids=lambda auto: auto.__name__)
def test_every_auto_class(auto, way, tmp_path):
    names = ["heads", "neurons"] + (["rank"] if auto is not AutoModelForMaskedLM else [])
    model = pruned(auto, names)
    prunekit.save(model, tmp_path / "m") if way == "save" else model.save_pretrained(tmp_path / "m")
    again = auto.from_pretrained(tmp_path / "m")
    assert type(again) is type(model) and torch.equal(run(again), run(model))
    assert torch.equal(run(prunekit.load(tmp_path / "m")), run(model))
    again.save_pretrained(tmp_path / "again")
    assert torch.equal(run(auto.from_pretrained(tmp_path / "again")), run(model))


def test_configuration_and_arguments_reach_the_model(tmp_path):
    pruned(AutoModelForSequenceClassification).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(config, BertConfig) and (config.hidden_size, config.vocab_size) == (32, 60)
    load = AutoModelForSequenceClassification.from_pretrained
    five = load(tmp_path, num_labels=5, ignore_mismatched_sizes=True)
    assert run(five).shape[-1] == 5
    config.num_labels = 7
    assert run(load(tmp_path, config=config, ignore_mismatched_sizes=True)).shape[-1] == 7
    assert load(tmp_path, hidden_dropout_prob=0.3).bert.embeddings.dropout.p == 0.3
    assert load(tmp_path, id2label={0: "a", 1: "b", 2: "c"}).config.id2label[2] == "c"
    assert load(tmp_path, dtype=torch.bfloat16).dtype == torch.bfloat16
    assert next(load(tmp_path, device_map="meta").parameters()).is_meta
    assert load(tmp_path, attn_implementation="eager").config._attn_implementation == "eager"


def test_sharded_and_placed(tmp_path):
    model = pruned(AutoModelForSequenceClassification)
    model.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    for arguments in ({}, {"device_map": "auto"}):
        again = AutoModelForSequenceClassification.from_pretrained(tmp_path, **arguments)
        assert torch.equal(run(again), run(model))
    assert torch.equal(run(prunekit.load(tmp_path)), run(model))


def test_another_head_on_a_pruned_backbone(tmp_path):
    model = pruned(AutoModel)
    model.save_pretrained(tmp_path)
    tagger = AutoModelForTokenClassification.from_pretrained(tmp_path, num_labels=4)
    assert torch.equal(run(tagger.bert), run(model)) and run(tagger).shape[-1] == 4
    weights = tagger.classifier.weight
    assert bool(weights.isfinite().all()) and 0.005 < float(weights.detach().std()) < 0.05


def test_no_mark_of_quantisation_stays(tmp_path):
    pruned(AutoModelForSequenceClassification).save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert not getattr(again, "is_quantized", False) and getattr(again, "hf_quantizer", None) is None
    assert again.half().dtype == torch.float16
    Trainer(again.float(), TrainingArguments(str(tmp_path / "t"), report_to="none", use_cpu=True))


def test_a_wrong_auto_class_is_refused(tmp_path):
    pruned(AutoModelForSequenceClassification).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="no head for language"):
        AutoModelForCausalLM.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="Unrecognized configuration class"):
        transformers.AutoModelForImageClassification.from_pretrained(tmp_path)


def test_trainer_checkpoints_load_and_resume(tmp_path):
    model = pruned(AutoModelForSequenceClassification)
    data = [{"input_ids": torch.full((6,), 3 + i), "labels": torch.tensor(i % 3)} for i in range(16)]

    def trainer(model, steps):
        arguments = TrainingArguments(
            str(tmp_path / "t"), max_steps=steps, save_steps=2, per_device_train_batch_size=4,
            report_to="none", use_cpu=True, seed=1, disable_tqdm=True,
        )  # fmt: skip
        return Trainer(model, arguments, train_dataset=data)

    whole = copy.deepcopy(model)
    trainer(whole, 4).train()
    checkpoint = tmp_path / "t" / "checkpoint-2"
    resumed = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    trainer(resumed, 4).train(resume_from_checkpoint=str(checkpoint))
    assert torch.equal(run(resumed), run(whole))
    trainer(resumed, 4).save_model(str(tmp_path / "s"))
    assert torch.equal(run(AutoModelForSequenceClassification.from_pretrained(tmp_path / "s")), run(whole))


def test_wrappers(tmp_path):
    model = pruned(AutoModelForSequenceClassification)
    for number, wrapped in enumerate((torch.compile(model), nn.DataParallel(model))):
        prunekit.save(wrapped, tmp_path / str(number))
        again = AutoModelForSequenceClassification.from_pretrained(tmp_path / str(number))
        assert torch.equal(run(again), run(model))
    dense = nn.DataParallel(AutoModelForSequenceClassification.from_config(BertConfig(num_hidden_layers=1)))
    pruner = prunekit.Pruner(dense, ["heads"], "magnitude", budget={"name": "sizes", "heads": 2})
    assert pruner.model is dense.module


class WithAdapter(nn.Module):
    """What a layer of PEFT looks like."""

    def __init__(self, base):
        super().__init__()
        self.base_layer, self.lora_A = base, nn.ModuleDict()


def test_adapters_are_refused(tmp_path):
    model = pruned(AutoModelForSequenceClassification)
    model.classifier = WithAdapter(model.classifier)
    for use in (
        lambda: prunekit.save(model, tmp_path / "m"),
        lambda: prunekit.Pruner(model, ["heads"], budget={"name": "ratio", "keep": 0.5}),
    ):
        with pytest.raises(UnsupportedModelError, match="merge them first"):
            use()


class OwnConfig(PretrainedConfig):
    model_type = "own_for_this_test"

    def __init__(self, width: int = 12, inner: int = 20, **others):
        self.width, self.inner = width, inner
        super().__init__(**others)


class Own(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.first = nn.Linear(config.width, config.inner)
        self.second = nn.Linear(config.inner, 3)
        self.post_init()

    def forward(self, x):
        return self.second(self.first(x).relu())


def test_a_class_of_ones_own(tmp_path):
    torch.manual_seed(0)
    model, x = Own(OwnConfig()).eval(), torch.randn(2, 12)
    channels = {"name": "channels", "example_inputs": x}
    prunekit.Pruner(model, [channels], "magnitude", budget={"name": "ratio", "keep": 0.5}).step()
    prunekit.save(model, tmp_path / "a")
    model.save_pretrained(tmp_path / "b")
    for name in "ab":
        again = Own.from_pretrained(tmp_path / name)
        assert again.first.out_features == 10 and torch.equal(again(x), model(x))
    with pytest.raises(CheckpointError, match=r"Own\.from_pretrained"):
        prunekit.load(tmp_path / "a")


def test_plain_where_a_configuration_says_it(tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 40}
    config = LlamaConfig(vocab_size=60, num_hidden_layers=2, **sizes)
    model = AutoModelForCausalLM.from_config(config).eval()
    budget = {"name": "sizes", "heads": 1, "neurons": 11}
    prunekit.Pruner(model, ["heads", "neurons"], "magnitude", budget=budget).step()
    prunekit.save(model, tmp_path / "m", plain=True)
    found = json.loads((tmp_path / "m" / "config.json").read_text())
    expected = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "intermediate_size": 11}
    assert {name: found[name] for name in expected} == expected
    assert "quantization_config" not in found
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert torch.equal(run(again), run(model)) and recorded(model.config) is not None
    uneven = AutoModelForCausalLM.from_config(config).eval()
    budget = {"name": "sizes", "neurons": [11, 12]}
    prunekit.Pruner(uneven, ["neurons"], "magnitude", budget=budget).step()
    with pytest.raises(CheckpointError, match="layers has layers of 11, 12 neurons"):
        prunekit.save(uneven, tmp_path / "u", plain=True)
    bert = BertForSequenceClassification(BertConfig(vocab_size=60, hidden_size=32, num_attention_heads=4))
    prunekit.Pruner(bert, ["heads"], "magnitude", budget={"name": "sizes", "heads": 2}).step()
    with pytest.raises(CheckpointError, match="no setting of it gives"):
        prunekit.save(bert, tmp_path / "b", plain=True)
    assert not (tmp_path / "u").exists() and not (tmp_path / "b").exists()


def test_what_could_not_be_loaded_is_not_kept(tmp_path):
    model = pruned(AutoModelForSequenceClassification)
    model.bert.encoder.layer[0].intermediate.dense = nn.Linear(32, 500)
    with pytest.raises(CheckpointError, match=r"intermediate\.dense\.weight is \(500, 32\)"):
        prunekit.save(model, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_record(tmp_path):
    model = pruned(AutoModelForSequenceClassification)
    model.save_pretrained(tmp_path)
    whole = json.loads((tmp_path / "config.json").read_text())
    name = next(iter(whole["quantization_config"]["sizes"]))
    for key, value in (
        ("sizes", {name: [10**6, None]}),
        ("sizes", {name: "four"}),
        ("sizes", {"nobody": [1, 1]}),
        ("attributes", {"bert": {"training": 3}}),
        ("attributes", {"bert.encoder.layer.0.attention.self": {"forward": 3}}),
    ):
        damaged = copy.deepcopy(whole)
        damaged["quantization_config"][key] = value
        (tmp_path / "config.json").write_text(json.dumps(damaged))
        with pytest.raises(CheckpointError, match=r"config\.json"):
            AutoModelForSequenceClassification.from_pretrained(tmp_path)


def test_a_second_loading_method_says_what_to_do(tmp_path):
    pruned(AutoModelForSequenceClassification).save_pretrained(tmp_path)
    other = transformers.QuantoConfig(weights="int8")
    with pytest.raises(ValueError, match=r"prunekit\.load\(folder, quantization_config=\.\.\.\)"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path, quantization_config=other)


@pytest.mark.parametrize("kind", [BertForSequenceClassification])
def test_folders_of_earlier_versions(kind, tmp_path):
    from prunekit.architectures import shape_of
    from prunekit.slim import SlimConfig

    model = pruned(AutoModelForSequenceClassification)
    model.save_pretrained(tmp_path)
    inner = copy.deepcopy(model.config)
    del inner.quantization_config
    SlimConfig(model=inner, model_class=kind.__name__, shape=shape_of(model).to_dict()).save_pretrained(
        tmp_path
    )
    for again in (AutoModelForSequenceClassification.from_pretrained(tmp_path), prunekit.load(tmp_path)):
        assert type(again) is kind and torch.equal(run(again.eval()), run(model))
    again.save_pretrained(tmp_path / "new")
    assert torch.equal(run(kind.from_pretrained(tmp_path / "new")), run(model))


class OwnAttention(nn.Module):
    """Reshapes by a number that it keeps."""

    def __init__(self, heads=4, width=8):
        super().__init__()
        self.heads = heads
        self.inside, self.outside = nn.Linear(6, heads * width), nn.Linear(heads * width, 6)

    def forward(self, x):
        hidden = self.inside(x).view(*x.shape[:-1], self.heads, -1)
        return self.outside(hidden.softmax(-1).flatten(-2))


def test_a_module_of_ones_own_keeps_its_numbers(tmp_path):
    torch.manual_seed(0)
    model, x = nn.Sequential(OwnAttention(), nn.ReLU()).eval(), torch.randn(2, 6)
    inner = model[0]
    pieces = [("inside", "weight", 0), ("inside", "bias", 0), ("outside", "weight", 1)]
    slices = [prunekit.Slice(getattr(inner, name), key, dim, 8) for name, key, dim in pieces]
    SlicedGroup("own", "heads", 4, slices=slices).keep(torch.tensor([0, 3]))
    inner.heads = 2
    prunekit.save(model, tmp_path / "m")
    again = prunekit.load(tmp_path / "m", into=nn.Sequential(OwnAttention(), nn.ReLU()))
    assert again[0].heads == 2 and torch.equal(again(x), model(x))
