"""On a processor, training in bfloat16 keeps off the fused kernel, whose backward pass is slow there."""

from contextlib import nullcontext

import pytest
import torch
from transformers import BertConfig, BertModel

from prunekit.exits import MultiExitForSequenceClassification
from prunekit.stages.training.objectives import Objective, truth

FUSED = "FlashAttention"


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32,
        attention_probs_dropout_prob=0.0, hidden_dropout_prob=0.0, initializer_range=0.1,
    )  # fmt: skip
    backbone = BertModel(config, add_pooling_layer=False)
    return MultiExitForSequenceClassification.from_backbone(
        backbone, num_labels=2, reads="mean", dropout=0.0
    ).train()


@pytest.fixture
def batch():
    ids = torch.randint(1, 50, (8, 12), generator=torch.Generator().manual_seed(0))
    ids[:4, 8:] = 0
    mask = (ids > 0).long()
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.arange(8) % 2}


def loss_of(model, batch, autocast):
    with torch.autocast("cpu", autocast) if autocast else nullcontext():
        return Objective([truth()])(model, batch)


def operations(loss):
    """Names of all nodes of the graph behind a loss."""
    names, waiting, seen = set(), [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        names.add(node.name())
        waiting += [following for following, _ in node.next_functions]
    return names


def test_in_bfloat16_the_backward_pass_has_no_fused_attention(model, batch):
    assert not any(FUSED in name for name in operations(loss_of(model, batch, torch.bfloat16)))
    # Else the test would look for a name that PyTorch does not have.
    with torch.autocast("cpu", torch.bfloat16):
        output = model(batch["input_ids"], batch["attention_mask"], all_exits=True)
    assert any(FUSED in name for name in operations(output.exit_logits.sum()))


def seen_by(model, run):
    """The attention that the layers have while a function runs."""
    seen = set()
    hook = model.backbone.encoder.layer[0].register_forward_pre_hook(
        lambda layer, inputs: seen.add(layer.attention.self.config._attn_implementation)
    )
    run()
    hook.remove()
    return seen


def test_the_model_keeps_its_own_attention_for_everything_else(model, batch):
    own = model.backbone.config._attn_implementation
    assert own == "sdpa"
    assert seen_by(model, lambda: loss_of(model, batch, torch.bfloat16)) == {"eager"}
    assert seen_by(model, lambda: loss_of(model, batch, None)) == {own}
    with torch.no_grad():
        assert seen_by(model, lambda: loss_of(model, batch, torch.bfloat16)) == {own}
    with pytest.raises(IndexError):
        loss_of(model, {**batch, "input_ids": batch["input_ids"] + 10**6}, torch.bfloat16)
    assert model.backbone.config._attn_implementation == own


def test_a_model_that_is_wrapped_for_several_processes_too(model, batch):
    class Wrapped(torch.nn.parallel.DistributedDataParallel):
        """As DDP holds a model, without the processes."""

        def __init__(self, module):
            torch.nn.Module.__init__(self)
            self.module = module

        def forward(self, *inputs, **options):
            return self.module(*inputs, **options)

    assert seen_by(model, lambda: loss_of(Wrapped(model), batch, torch.bfloat16)) == {"eager"}


def test_in_float32_pytorch_chooses(model, batch):
    assert any(FUSED in name for name in operations(loss_of(model, batch, None)))


def test_its_gradients_are_those_of_float32_but_for_rounding(model, batch):
    gradients = []
    for autocast in (None, torch.bfloat16):
        model.zero_grad()
        loss_of(model, batch, autocast).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    exact, rounded = gradients
    assert (rounded - exact).norm() < 0.02 * exact.norm()
