"""What every part of a kind must do, checked on small models."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..budgets import Budget
from ..data import NO_LABEL
from ..distill import LiveTeacher, Loss
from ..exits import ExitHead, ExitPolicy, MultiExitForSequenceClassification
from ..granularities import Granularity
from ..granularities import registry as granularities
from ..groups import Group
from ..schedulers import Scheduler
from ..scorers import Scorer

Batch = dict[str, Tensor]


def small_model(seed: int = 0) -> MultiExitForSequenceClassification:
    """A BERT of three layers with an exit on each, random weights, in evaluation mode."""
    from transformers import AutoModel, BertConfig

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=60,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=32,
        initializer_range=0.1,
    )
    backbone = AutoModel.from_config(config, trust_remote_code=False)
    return MultiExitForSequenceClassification.from_backbone(backbone, num_labels=3, reads="mean").eval()


def small_batches(count: int = 3, seed: int = 0) -> list[Batch]:
    """Padded batches for :func:`small_model`, with labels."""
    generator = torch.Generator().manual_seed(seed)

    def draw(high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=generator)

    batches = []
    for _ in range(count):
        lengths = 2 + draw(8, 5)
        mask = (torch.arange(9)[None] < lengths[:, None]).long()
        batches.append({"input_ids": draw(60, 5, 9), "attention_mask": mask, "labels": draw(3, 5)})
    return batches


def small_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy of every exit: ``[E]``."""
    logits = model(batch["input_ids"], batch["attention_mask"], all_exits=True).exit_logits
    return torch.stack([cross_entropy(one, batch["labels"]) for one in logits])


def check_scorer(scorer: Scorer) -> None:
    """One finite, non-negative number a unit, in whatever order groups come; the model is left as it was."""
    model, batches = small_model(), small_batches()
    groups = _groups(model)
    model.train()
    model.exits[0].eval()
    model.get_input_embeddings().requires_grad_(False)
    before = _state(model)
    scores = scorer.score(model, groups, batches, small_loss)
    assert _same(before, _state(model)), "score() must leave weights, gradients, modes and hooks as they were"
    assert set(scores) == {g.name for g in groups}, "score() must give every group's importance, and no other"
    for group in groups:
        values = scores[group.name]
        assert values.shape == (group.size,), f"{group.name}: {tuple(values.shape)} is not one value a unit"
        assert values.dtype == torch.float32 and values.device.type == "cpu", f"{group.name}: float32, CPU"
        assert bool(values.isfinite().all()) and bool((values >= 0).all()), f"{group.name}: finite, >= 0"
        own = group.intrinsic_importance()
        assert own is None or torch.equal(values, own.float()), (
            f"{group.name} ranks itself: give its own values"
        )
    again = scorer.score(model, groups[::-1], batches, small_loss)
    for name, values in scores.items():
        assert torch.allclose(values, again[name], rtol=1e-4, atol=1e-7), f"{name}: not the same again"


def check_granularity(granularity: Granularity, model: nn.Module, inputs: Batch) -> None:
    """Removing units by slicing gives what hiding them at their gates gives, to float tolerance.

    Args:
        granularity: finds at least one group in ``model``.
        model: in evaluation mode; its output is a tensor or has ``logits``. It is not changed.
        inputs: keywords of its forward.
    """
    model = copy.deepcopy(model)
    groups = granularity.groups(model)
    assert groups, "no group was found"
    assert len({g.name for g in groups}) == len(groups), "names of groups must be unique"
    masked = None
    hooks = []
    generator = torch.Generator().manual_seed(0)
    keeps = {g.name: _some(g, generator) for g in groups}
    if all(group.gates and not group.ordered for group in groups):
        hooks = [_hide(group, gate, keeps[group.name]) for group in groups for gate in group.gates]
        masked = _output(model, inputs)
    for hook in hooks:
        hook.remove()
    parameters = sum(p.numel() for p in model.parameters())
    for group in groups:
        group.keep(keeps[group.name])
        assert group.size == len(keeps[group.name]), f"{group.name}: size must follow keep()"
    slim = _output(model, inputs)
    assert sum(p.numel() for p in model.parameters()) < parameters, "keep() must make parameters smaller"
    if masked is not None:
        assert torch.allclose(slim, masked, rtol=1e-4, atol=1e-5), "slicing differs from hiding at the gates"
    found = {g.name: g.size for g in granularity.groups(model)}
    assert found == {g.name: g.size for g in groups}, "groups() of the slimmed model must find the new sizes"


def check_scheduler(scheduler: Scheduler) -> None:
    """From 0 at step 0 to 1 at the last step, never falling; steps outside are refused."""
    for steps in (1, 2, 7, 30):
        fractions = [scheduler.fraction(step, steps) for step in range(steps + 1)]
        assert fractions[0] == 0.0 and fractions[-1] == 1.0, f"{steps} steps: from 0 to 1, not {fractions}"
        assert fractions == sorted(fractions), f"{steps} steps: a fraction must not fall: {fractions}"
        for outside in (-1, steps + 1):
            try:
                scheduler.fraction(outside, steps)
            except ValueError:
                continue
            raise AssertionError(f"step {outside} of {steps} must be a ValueError")


def check_budget(budget: Budget) -> None:
    """Sizes fall from what there is to the target, and what is kept is a valid keep-set of that size."""
    model = small_model()
    groups = _groups(model)
    budget.check(model, groups)
    generator = torch.Generator().manual_seed(0)
    scores = {g.name: torch.rand(g.size, generator=generator) for g in groups}
    sizes = [budget.sizes(model, groups, fraction, scores) for fraction in (0.0, 0.25, 0.5, 1.0)]
    assert sizes[0] == {g.name: g.size for g in groups}, "nothing is removed at fraction 0"
    for earlier, later in pairwise(sizes):
        for name in earlier:
            assert 1 <= later[name] <= earlier[name], f"{name}: {earlier[name]}, then {later[name]}"
    assert sizes[-1] != sizes[0], "something is removed at fraction 1"
    kept = budget.keep(model, groups, scores, 1.0)
    for group in groups:
        assert len(group.checked(kept[group.name])) == sizes[-1][group.name], f"{group.name}: another size"


def check_loss(loss: Loss) -> None:
    """Finite values that sum to one number; padding has no say in it, and examples may lack a label.

    A loss with ``needs_match`` is not checked: it wants a student and a teacher of its own.
    """
    if loss.needs_match:
        raise ValueError(f"{type(loss).__name__} compares models of other sizes: call it with such a pair")
    student, teacher, batch = small_model(1), small_model(2), small_batches(1)[0]

    def of(batch: Batch) -> Tensor:
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        output = student(**inputs, all_exits=True, output_hidden_states=True)
        return loss(output, LiveTeacher(teacher)(batch, True) if loss.needs_teacher else None, batch)

    values = of(batch)
    assert values.dim() <= 1, f"one value per {loss.unit}, or a scalar, not {tuple(values.shape)}"
    if values.dim() and loss.unit == "exit":
        assert len(values) == len(student.exits), f"{len(student.exits)} exits, and {len(values)} values"
    assert bool(values.isfinite().all()), f"finite, not {values.tolist()}"
    values.sum().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in student.parameters()), "nothing is learned"
    padded = {name: _padded(value) if value.dim() == 2 else value for name, value in batch.items()}
    assert torch.allclose(of(padded), values, rtol=1e-4, atol=1e-6), "padding changes it"
    unlabelled = of(batch | {"labels": torch.full_like(batch["labels"], NO_LABEL)})
    assert bool(unlabelled.isfinite().all()), f"labels are {NO_LABEL}, which is none: {unlabelled.tolist()}"


def check_exit_head(head: type[ExitHead]) -> None:
    """An example has the same logits alone as in a batch, whatever its padding; hidden dimensions can go."""
    torch.manual_seed(0)
    hidden, mask = torch.randn(4, 7, 12), torch.ones(4, 7, dtype=torch.int64)
    for row in range(4):
        mask[row, 3 + row :] = 0
    for reads in ("first", "mean", "learned"):
        whole = head(12, 3, reads=reads).eval()
        logits, read = whole(hidden, mask)
        assert logits.shape == (4, 3) and read.shape == (4, 12), "logits [B, C], and what was read [B, H]"
        assert bool(logits.isfinite().all()), "logits must be finite"
        for row in range(4):
            alone = whole(hidden[row : row + 1, : 3 + row], mask[row : row + 1, : 3 + row])[0][0]
            assert torch.allclose(alone, logits[row], atol=1e-5), f"reads={reads}: other logits alone"
        fewer = head(5, 3, reads=reads)
        fewer.load_state_dict(whole.narrowed_state(torch.tensor([0, 2, 3, 7, 11])))
        same = head(12, 3, reads=reads).eval()
        same.load_state_dict(whole.state_dict())
        assert torch.equal(same(hidden, mask)[0], logits), "its state must be all there is to it"


def _padded(value: Tensor) -> Tensor:
    return torch.nn.functional.pad(value, (0, 3))


def check_exit_policy(policy: ExitPolicy) -> None:
    """An example leaves at the same exit alone as in a batch, also where predictions are certain."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 40, 3, generator=generator) * torch.linspace(0.1, 8, 40)[:, None]
    logits[:, 0, 1], logits[:, 1] = 200.0, 0.0
    certainty = torch.rand(5, 40, generator=generator)
    together = policy.exits(logits, certainty)
    assert together.shape == (40,) and together.dtype == torch.int64, "exits() gives int64 [N]"
    for row in range(logits.shape[1]):
        one, sure = logits[:, row : row + 1], certainty[:, row : row + 1]
        alone = next((i for i in range(4) if bool(policy.decide(one[: i + 1], i, sure[: i + 1])[0])), 4)
        assert int(together[row]) == alone, f"example {row} leaves at {int(together[row])}, alone at {alone}"


def _groups(model: nn.Module) -> list[Group]:
    return [g for name in ("heads", "neurons", "rank") for g in granularities.build(name).groups(model)]


def _state(model: nn.Module) -> list[Any]:
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    modes = [m.training for m in model.modules()]
    switches = [getattr(m, "gradient_equilibrium", None) for m in model.modules()]
    flags = [(p.requires_grad, p.grad is None) for p in model.parameters()]
    return [hooks, modes, switches, flags, [p.detach().clone() for p in model.parameters()]]


def _same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    weights = zip(one[-1], other[-1], strict=True)
    return list(one[:-1]) == list(other[:-1]) and all(torch.equal(a, b) for a, b in weights)


def _some(group: Group, generator: torch.Generator) -> Tensor:
    """A keep-set of about half of the units: a prefix where they are ordered."""
    count = max(1, group.size // 2)
    if group.ordered:
        return torch.arange(count)
    return torch.randperm(group.size, generator=generator)[:count].sort().values


def _hide(group: Group, gate: Any, keep: Tensor) -> Any:
    index = (
        gate.index
        if gate.index is not None
        else torch.arange(group.size * gate.width).reshape(-1, gate.width)
    )
    removed = torch.ones(group.size, dtype=torch.bool)
    removed[keep] = False
    places = index[removed].flatten()

    def hidden(value: Tensor) -> Tensor:
        return value.index_fill(gate.dim, places, 0.0)

    if gate.side == "output":
        return gate.module.register_forward_hook(lambda module, args, output: hidden(output))
    return gate.module.register_forward_pre_hook(lambda module, args: (hidden(args[0]), *args[1:]))


@torch.no_grad()
def _output(model: nn.Module, inputs: Batch) -> Tensor:
    output = model(**inputs)
    return output if isinstance(output, Tensor) else output.logits
