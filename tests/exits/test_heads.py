"""Exit heads: the built-in kinds against their formulas, and one of somebody's own."""

from typing import ClassVar

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from prunekit import checkpoints
from prunekit.errors import RecipeError
from prunekit.exits import ExitHead, ExitsConfig
from prunekit.exits.heads import register, registry
from prunekit.exits.heads.linear import LinearHead
from prunekit.exits.heads.pooled import PooledHead
from prunekit.testing import small_batches, small_model


@register("gated")
class Gated(ExitHead):
    """A gate on what was read."""

    hidden_dims: ClassVar = {**ExitHead.hidden_dims, "gate.weight": (0, 1), "gate.bias": (0,)}

    def add_layers(self, hidden_size):
        self.gate = nn.Linear(hidden_size, hidden_size)

    def transform(self, read):
        return read * self.gate(read).sigmoid()


def with_head(name, **options):
    from prunekit.exits import MultiExitForSequenceClassification

    torch.manual_seed(3)
    backbone = small_model().backbone
    return MultiExitForSequenceClassification.from_backbone(
        backbone, num_labels=3, head=name, reads="mean", **options
    ).eval()


@pytest.mark.parametrize("kind", [LinearHead, PooledHead])
def test_logits_are_the_formula(kind):
    torch.manual_seed(0)
    head = kind(8, 3, reads="mean", initializer_range=0.5).eval()
    hidden, mask = torch.randn(2, 4, 8), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    for row, count in enumerate((2, 4)):
        read = hidden[row, :count].mean(0)
        inner = read if kind is LinearHead else head.dense.weight @ read + head.dense.bias
        expected = head.classifier.weight @ inner.tanh() + head.classifier.bias
        logits, told = head(hidden, mask)
        assert torch.allclose(logits[row], expected, atol=1e-6)
        assert torch.allclose(told[row], read, atol=1e-6)


def test_a_head_of_ones_own_is_saved_loaded_and_used(tmp_path):
    model, batch = with_head("gated"), small_batches(1)[0]
    batch.pop("labels")
    assert isinstance(model.exits[0], Gated) and "gated" in registry.names()
    with torch.no_grad():
        model.exits[1].gate.weight.normal_()
        logits = model(**batch).logits
        model.save_pretrained(tmp_path)
        for loaded in (
            checkpoints.load(tmp_path), AutoModelForSequenceClassification.from_pretrained(tmp_path)
        ):  # fmt: skip
            assert torch.equal(loaded.eval()(**batch).logits, logits)


@pytest.mark.parametrize("name", ["linear", "pooled", "gated"])
def test_a_head_on_fewer_dimensions_is_the_head_where_the_others_are_not_looked_at(name):
    head, keep = with_head(name).exits[0], torch.tensor([1, 4, 9, 30])
    others = torch.ones(32, dtype=torch.bool)
    others[keep] = False
    hidden, mask = torch.randn(5, 6, 32), torch.ones(5, 6)
    hidden[..., others] = 0
    smaller = registry.get(name)(4, 3, reads="mean").eval()
    with torch.no_grad():
        for parameter in head.parameters():
            nn.init.normal_(parameter, std=0.5)
        head.classifier.weight[:, others] = 0
        smaller.load_state_dict(head.narrowed_state(keep))
        assert torch.allclose(smaller(hidden[..., keep], mask)[0], head(hidden, mask)[0], atol=1e-5)


def test_a_name_that_is_none_is_refused_in_a_recipe():
    with pytest.raises(ValueError, match="unknown exit head 'poled'"):
        ExitsConfig(head="poled")
    with pytest.raises(RecipeError, match="did you mean 'pooled'"):
        registry.get("poled")
    assert ExitsConfig(head="gated").head == "gated"
