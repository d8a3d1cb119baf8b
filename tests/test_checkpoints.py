"""Saving and loading what is not a multi-exit model, and what happens when it goes wrong."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from families import DECODERS, FAMILIES, backbone, batch, task_model
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import prunekit
from prunekit.errors import CheckpointError
from prunekit.exits import MultiExitForSequenceClassification
from prunekit.granularities import registry


@pytest.mark.parametrize("family", FAMILIES)
def test_a_slimmed_transformers_model_loads_with_the_auto_classes(family, tmp_path):
    model = task_model(family)
    for granularity in ("heads", "neurons", "rank"):
        for index, group in enumerate(registry.build(granularity).groups(model)):
            group.keep(torch.arange(max(1, group.size // 2 - index)))
    expected = model(**batch()).logits
    prunekit.save(model, tmp_path / "m")
    auto = AutoModelForCausalLM if family in DECODERS else AutoModelForSequenceClassification
    for loaded in (auto.from_pretrained(tmp_path / "m").eval(), prunekit.load(tmp_path / "m")):
        assert type(loaded) is type(model)
        assert torch.equal(loaded(**batch()).logits, expected)


def test_any_other_module_loads_into_a_fresh_one(tmp_path):
    def make():
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5)
        )

    model = make().eval()
    small = copy.deepcopy(model)
    small[0] = nn.Conv2d(3, 4, 3)
    small[1] = nn.BatchNorm2d(4).eval()
    small[4] = nn.Linear(4 * 16, 5)
    prunekit.save(small, tmp_path / "m")
    loaded = prunekit.load(tmp_path / "m", into=make())
    image = torch.randn(2, 3, 6, 6)
    assert torch.equal(loaded(image), small(image))
    assert (loaded[0].out_channels, loaded[1].num_features, loaded[4].in_features) == (4, 4, 64)
    with pytest.raises(CheckpointError, match="into=Sequential"):
        prunekit.load(tmp_path / "m")


def test_saving_again_replaces_the_model_alone(tmp_path):
    model = task_model("bert")
    prunekit.save(model, tmp_path / "m")
    prunekit.save(model, tmp_path / "m")
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="not a model folder"):
        prunekit.save(task_model("bert"), tmp_path / "m")
    assert (tmp_path / "m" / "thesis.txt").read_text() == "years of work"


def test_a_model_that_prunekit_did_not_write_is_not_replaced(tmp_path):
    task_model("bert").save_pretrained(tmp_path / "m")
    before = sorted(p.name for p in (tmp_path / "m").iterdir())
    with pytest.raises(CheckpointError, match="that prunekit wrote"):
        prunekit.save(task_model("bert"), tmp_path / "m")
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == before


def test_a_failed_last_step_leaves_the_old_model(tmp_path, monkeypatch):
    model = task_model("bert")
    prunekit.save(model, tmp_path / "m")
    rename = Path.rename

    def fails_once_written(self, target):
        if self.name == "new":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_once_written)
    with pytest.raises(CheckpointError, match="Input/output"):
        prunekit.save(model, tmp_path / "m")
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    prunekit.load(tmp_path / "m")


def test_a_module_that_has_more_than_the_folder_is_refused(tmp_path):
    prunekit.save(nn.Sequential(nn.Linear(4, 3)), tmp_path / "m")
    with pytest.raises(CheckpointError, match=r"Missing.*1\.weight"):
        prunekit.load(tmp_path / "m", into=nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)))


def test_tied_parameters_load(tmp_path):
    def make():
        tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        tied[1].weight = tied[0].weight
        return tied

    model = make()
    prunekit.save(model, tmp_path / "m")
    loaded = prunekit.load(tmp_path / "m", into=make())
    assert torch.equal(loaded[1].weight, model[0].weight) and loaded[1].weight is loaded[0].weight


def test_narrowed_parameters_keep_device_and_precision(tmp_path):
    prunekit.save(nn.Linear(4, 2), tmp_path / "m")
    assert prunekit.load(tmp_path / "m", into=nn.Linear(4, 3).double()).weight.dtype == torch.float64


def test_a_failed_write_leaves_the_old_model(tmp_path):
    model = task_model("bert")
    prunekit.save(model, tmp_path / "m")

    def fails(folder):
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match="No space left"):
        prunekit.save(model, tmp_path / "m", extra=fails)
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    prunekit.load(tmp_path / "m")


@pytest.mark.parametrize("kept", [0, 4, 100, 5000])
def test_truncated_weights(tmp_path, kept):
    prunekit.save(task_model("bert"), tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="cannot read the model"):
        prunekit.load(tmp_path / "m")


def test_truncated_configuration(tmp_path):
    prunekit.save(task_model("bert"), tmp_path / "m")
    config = tmp_path / "m" / "config.json"
    config.write_text(config.read_text()[:200])
    with pytest.raises(CheckpointError, match="is not JSON"):
        prunekit.load(tmp_path / "m")


@pytest.mark.parametrize("changes", [{"exit_layers": None}, {"exit_policy": 7}, {"backbone": None}])
def test_a_configuration_that_makes_no_model(tmp_path, changes):
    model = MultiExitForSequenceClassification.from_backbone(backbone("bert"))
    prunekit.save(model, tmp_path / "m")
    config = tmp_path / "m" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    with pytest.raises(CheckpointError, match="cannot read the model"):
        prunekit.load(tmp_path / "m")


def test_missing_folder(tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no folder .*nowhere"):
        prunekit.load(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        prunekit.load(tmp_path)


def test_a_model_that_was_not_pruned_loads_too(tmp_path):
    model = task_model("bert")
    model.save_pretrained(tmp_path / "m")
    assert type(prunekit.load(tmp_path / "m")) is type(model)
