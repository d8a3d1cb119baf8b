"""Taylor scorers against finite differences, brute-force sums and separate backward passes."""

from __future__ import annotations

import pytest
import torch
from families import backbone, batch
from pruning_toys import exit_losses, multi_exit_mlp, neuron_groups, token_batches
from torch import nn
from torch.nn.functional import cross_entropy

from prunekit.errors import TrainingError, UnsupportedModelError
from prunekit.exits import MultiExitForSequenceClassification
from prunekit.granularities import registry as granularities
from prunekit.groups import Gate, Slice, SlicedGroup
from prunekit.scorers import registry as scorers
from prunekit.scorers.gradient import switched_equilibrium

LABELS = torch.tensor([0, 2, 1, 1, 0])


def multi_exit(family="bert", dtype=torch.float64, **options):
    model = MultiExitForSequenceClassification.from_backbone(
        backbone(family), num_labels=3, reads="mean", **options
    )
    return model.to(dtype)


def groups_of(model, *names):
    return [group for name in names for group in granularities.build(name).groups(model)]


def losses(model, inputs):
    logits = model(**inputs, all_exits=True).exit_logits
    return torch.stack([cross_entropy(exit_logits, LABELS) for exit_logits in logits])


def scaled(group, unit, factor):
    """Multiply one unit's activations at its gates by a factor."""

    def hook(gate):
        def scale(module, args):
            mask = torch.ones(group.size, gate.width, dtype=args[0].dtype)
            mask[unit] = factor
            return (args[0] * mask.flatten(), *args[1:])

        return gate.module.register_forward_pre_hook(scale)

    return [hook(gate) for gate in group.gates]


@torch.no_grad()
def finite_difference(model, group, batches, loss, step):
    model.eval()
    changes = []
    for unit in range(group.size):
        ends = []
        for factor in (1 + step, 1 - step):
            hooks = scaled(group, unit, factor)
            ends.append(sum(loss(model, b)[-1] for b in batches))
            for hook in hooks:
                hook.remove()
        changes.append(abs(ends[0] - ends[1]) / (2 * step))
    return torch.stack(changes).float()


@pytest.mark.parametrize(
    ("family", "step", "rtol", "atol"),
    [
        ("bert", 1e-5, 1e-4, 1e-9),
        ("distilbert", 1e-5, 1e-4, 1e-9),
        # Llama's norm computes in float32 whatever the model's type.
        ("llama", 0.05, 0.02, 3e-6),
    ],
)
def test_taylor_is_the_derivative_by_a_gate(family, step, rtol, atol):
    model = multi_exit(family).train()
    groups = groups_of(model, "heads", "neurons")
    batches = [batch(seed=1), batch(seed=2)]
    scores = scorers.build("taylor").score(model, groups, batches, losses)
    for group in (groups[0], groups[-1]):
        expected = finite_difference(model, group, batches, losses, step)
        assert torch.allclose(scores[group.name], expected, rtol, atol), group.name


def test_taylor_equals_weights_times_their_gradients():
    """By the chain rule: the sum of w * dL/dw over the columns that read the unit."""
    model = multi_exit().eval()
    groups = groups_of(model, "heads", "neurons")
    batches = [batch(seed=s) for s in (1, 2, 3)]
    scores = scorers.build("taylor").score(model, groups, batches, losses)
    sum(losses(model, b)[-1] for b in batches).backward()
    for group in groups:
        weight = group.gates[0].module.weight
        product = (weight * weight.grad).sum(dim=0).reshape(group.size, -1).sum(dim=1)
        assert torch.allclose(scores[group.name], product.abs().float(), rtol=1e-5), group.name
        assert scores[group.name].dtype == torch.float32


@pytest.mark.parametrize("gradient_equilibrium", [True, False])
@pytest.mark.parametrize("exit_layers", ["all", [2, 3]])
def test_multi_exit_taylor_equals_separate_passes(exit_layers, gradient_equilibrium):
    """Eq. 3: the mean over the exits behind a layer, one backward pass for each exit."""
    model = multi_exit(exit_layers=exit_layers).eval()
    groups = groups_of(model, "heads", "neurons")
    scorer = scorers.build({"name": "multi_exit_taylor", "gradient_equilibrium": gradient_equilibrium})
    batches = [batch(seed=1), batch(seed=2)]
    found = in_float64(scorer, model, groups, batches, losses)
    check_separate(model, groups, batches, losses, found, model.config.exit_layers, gradient_equilibrium)


@pytest.mark.parametrize("gradient_equilibrium", [True, False])
def test_multi_exit_taylor_of_a_model_with_its_own_scaling(gradient_equilibrium):
    model = multi_exit_mlp().double().eval()
    groups = neuron_groups(model)
    scorer = scorers.build({"name": "multi_exit_taylor", "gradient_equilibrium": gradient_equilibrium})
    batches = token_batches(dtype=torch.float64)
    found = in_float64(scorer, model, groups, batches, exit_losses)
    check_separate(model, groups, batches, exit_losses, found, [1, 2, 3, 4], gradient_equilibrium)
    assert model.gradient_equilibrium is False


def in_float64(scorer, model, groups, batches, loss):
    """What ``score`` gives, before it is rounded to float32."""
    with switched_equilibrium(model, scorer.gradient_equilibrium):
        found = scorer.accumulate(model, groups, batches, loss)
    for name, value in scorer.score(model, groups, batches, loss).items():
        assert torch.equal(value, found[name].float())
    return found


def check_separate(model, groups, batches, loss, found, exit_layers, equilibrium):
    separate = []
    for index in range(len(exit_layers)):
        model.zero_grad(set_to_none=True)
        sum(loss(model, b)[index] for b in batches).backward()
        sums = {}
        for group in groups:
            weight = group.gates[0].module.weight
            if weight.grad is not None:
                sums[group.name] = (weight * weight.grad).sum(0).reshape(group.size, -1).sum(1)
        separate.append(sums)
    for group in groups:
        behind = [i for i, number in enumerate(exit_layers) if number >= group.layer + 1]
        expected = sum(separate[i][group.name] for i in behind)
        if equilibrium:
            expected = expected / len(behind)
        error = (found[group.name] - expected.abs()).norm() / expected.norm()
        assert error <= 1e-9, group.name


def test_taylor_takes_the_last_exit_and_can_take_all():
    model = multi_exit_mlp().double().eval()
    groups = neuron_groups(model)
    batches = token_batches(dtype=torch.float64)
    last = scorers.build("taylor").score(model, groups, batches, lambda m, b: exit_losses(m, b)[-1])
    assert torch.equal(
        torch.cat(list(last.values())),
        torch.cat(list(scorers.build("taylor").score(model, groups, batches, exit_losses).values())),
    )
    every = scorers.build({"name": "taylor", "exits": "all"}).score(model, groups, batches, exit_losses)
    summed = scorers.build("taylor").score(model, groups, batches, lambda m, b: exit_losses(m, b).sum())
    for name in every:
        assert torch.allclose(every[name], summed[name])
        # Behind the last block there is only the last exit.
        assert torch.allclose(every[name], last[name]) == (name == "blocks.3.neurons")


def test_taylor_example_equals_a_loop_over_examples():
    model = multi_exit_mlp().double().eval()
    groups = neuron_groups(model)
    batches = token_batches(sizes=(3, 5, 1), dtype=torch.float64)
    single = [(h[i : i + 1], y[i : i + 1]) for h, y in batches for i in range(len(y))]
    expected = {g.name: torch.zeros(g.size, dtype=torch.float64) for g in groups}
    for one in single:
        model.zero_grad()
        exit_losses(model, one)[-1].backward()
        for group in groups:
            weight = group.gates[0].module.weight
            expected[group.name] += (weight * weight.grad).sum(0).abs() / len(single)
    for batching in (batches, single):
        found = scorers.build("taylor_example").score(model, groups, batching, exit_losses)
        for name, value in found.items():
            assert torch.allclose(value, expected[name].float(), rtol=1e-5)
    plain = scorers.build("taylor").score(model, groups, single, exit_losses)
    assert all((plain[n] / len(single) <= found[n] * (1 + 1e-5)).all() for n in found)

    def total(model, b):
        return nn.functional.cross_entropy(model(b[0])[-1], b[1], reduction="sum")

    summed = scorers.build({"name": "taylor_example", "loss_reduction": "sum"})
    for name, value in summed.score(model, groups, batches, total).items():
        assert torch.allclose(value, expected[name].float(), rtol=1e-5)


@pytest.mark.parametrize("slices", ["published", "all"])
def test_published_variant_equals_brute_force(slices):
    model = multi_exit().eval()
    groups = groups_of(model, "heads", "neurons")
    batches = [batch(seed=1), batch(seed=2)]
    scorer = scorers.build({"name": "taylor_published", "slices": slices})
    scores = scorer.score(model, groups, batches, losses)
    expected = {g.name: torch.zeros(g.size, dtype=torch.float64) for g in groups}
    architecture = model._architecture
    for inputs in batches:
        model.zero_grad()
        losses(model, inputs).sum().backward()
        for k, layer in enumerate(architecture.layers(model.backbone)):
            attention, ffn = architecture.attention(layer), architecture.feed_forward(layer)
            for unit in range(4):
                rows = slice(unit * 8, unit * 8 + 8)
                chosen = [(attention.output.weight, (slice(None), rows))]
                if slices == "all":
                    chosen += [(m.weight, rows) for m in (attention.query, attention.key, attention.value)]
                for weight, where in chosen:
                    expected[f"layers.{k}.heads"][unit] += (weight * weight.grad)[where].abs().sum()
            for unit in range(48):
                for weight, where in ((ffn.inputs[0].weight, unit), (ffn.output.weight, (slice(None), unit))):
                    expected[f"layers.{k}.neurons"][unit] += (weight * weight.grad)[where].abs().sum()
    for name, value in scores.items():
        assert torch.allclose(value, expected[name].float(), rtol=1e-5), name


def test_published_variant_uses_the_models_equilibrium_as_it_is():
    model = multi_exit_mlp().eval()
    groups = neuron_groups(model)
    batches = token_batches()
    off = scorers.build("taylor_published").score(model, groups, batches, exit_losses)
    model.gradient_equilibrium = True
    on = scorers.build("taylor_published").score(model, groups, batches, exit_losses)
    assert model.gradient_equilibrium is True
    assert not torch.allclose(on["blocks.0.neurons"], off["blocks.0.neurons"])
    assert torch.allclose(on["blocks.3.neurons"], off["blocks.3.neurons"])


def snapshot(model):
    return (
        [m.training for m in model.modules()],
        [p.requires_grad for p in model.parameters()],
        [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        [p.detach().clone() for p in model.parameters()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        [len(p._post_accumulate_grad_hooks or ()) for p in model.parameters()],
        model.gradient_equilibrium,
    )


def assert_same(before, after):
    for one, other in zip(before, after, strict=True):
        if isinstance(one, bool):
            assert one == other
            continue
        for a, b in zip(one, other, strict=True):
            assert a is b is None or (torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b)


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("name", ["taylor", "taylor_example", "taylor_published", "multi_exit_taylor"])
def test_the_model_is_left_as_it_was(name, fails):
    model = multi_exit_mlp().train()
    model.blocks[1].eval()
    model.blocks[0].wide.weight.requires_grad_(False)
    batches = token_batches()
    exit_losses(model, batches[0]).sum().backward()
    before = snapshot(model)

    def loss(model, one):
        assert not any(m.training for m in model.modules())
        if fails and one is batches[1]:
            raise RuntimeError("on purpose")
        return exit_losses(model, one)

    outside = torch.ones((), requires_grad=True)
    scorer = scorers.build(name)
    if fails:
        with pytest.raises(RuntimeError, match="on purpose"):
            scorer.score(model, neuron_groups(model), batches, loss)
    else:
        scorer.score(model, neuron_groups(model), batches, lambda m, b: loss(m, b) * outside)
    assert outside.grad is None
    assert_same(before, snapshot(model))


@pytest.mark.parametrize("name", ["taylor", "taylor_example", "taylor_published", "multi_exit_taylor"])
def test_frozen_models_and_no_grad_callers(name):
    model = multi_exit_mlp()
    batches = token_batches()
    expected = scorers.build(name).score(model, neuron_groups(model), batches, exit_losses)
    model.requires_grad_(False)
    with torch.no_grad():
        found = scorers.build(name).score(model, neuron_groups(model), batches, exit_losses)
    for key, value in expected.items():
        assert torch.equal(found[key], value)
        assert value.dtype == torch.float32 and value.shape == (8,) and value.min() >= 0


@pytest.mark.parametrize("name", ["taylor", "taylor_example", "taylor_published", "multi_exit_taylor"])
def test_not_finite_importance_names_group_and_batch(name):
    model = multi_exit_mlp(depth=2)
    batches = token_batches(sizes=(2, 2, 2))

    class Explode(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            return value.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float("inf")

    calls = []

    def loss(model, one):
        calls.append(one)
        if len(calls) < 3:
            return exit_losses(model, one)
        hook = model.blocks[1].register_forward_pre_hook(lambda m, args: (Explode.apply(args[0]),))
        try:
            return exit_losses(model, one)
        finally:
            hook.remove()

    with pytest.raises(TrainingError, match=r"blocks\.0\.neurons.*batch 3"):
        scorers.build(name).score(model, neuron_groups(model), batches, loss)


def test_losses_that_cannot_be_scored():
    model = multi_exit_mlp()
    groups, batches = neuron_groups(model), token_batches()
    scorer = scorers.build("taylor")
    with pytest.raises(TrainingError, match="loss of batch 2 is nan"):
        calls = iter([1.0, float("nan")])
        scorer.score(model, groups, batches, lambda m, b: exit_losses(m, b) * next(calls))
    with pytest.raises(TrainingError, match="no batch"):
        scorer.score(model, groups, [], exit_losses)
    with pytest.raises(TrainingError, match="needs a loss"):
        scorer.score(model, groups, batches)
    with pytest.raises(TrainingError, match="does not depend"):
        scorer.score(model, groups, batches, lambda m, b: exit_losses(m, b).detach())
    with pytest.raises(TrainingError, match=r"shape \(3, 3\)"):
        scorer.score(model, groups, batches, lambda m, b: m(b[0])[-1])
    for name in ("taylor", "taylor_published"):
        with pytest.raises(TrainingError, match=r"blocks\.1\.neurons"):
            scorers.build(name).score(model, groups, batches, lambda m, b: m.blocks[0](b[0]).square().mean())


def test_models_that_cannot_be_scored():
    model = multi_exit_mlp()
    groups, batches = neuron_groups(model), token_batches()
    with pytest.raises(UnsupportedModelError, match="names no gate"):
        blind = SlicedGroup("blind", "neurons", 8, slices=groups[0].slices)
        scorers.build("taylor").score(model, [blind], batches, exit_losses)
    with pytest.raises(UnsupportedModelError, match=r"\(3, 4, 8\).*not 5 units"):
        wrong = SlicedGroup("wrong", "neurons", 5, gates=groups[0].gates)
        scorers.build("taylor").score(model, [wrong], batches, exit_losses)
    plain = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3))
    group = SlicedGroup("hidden", "neurons", 8, gates=[Gate(plain[1])], slices=[Slice(plain[1], "weight", 1)])
    with pytest.raises(UnsupportedModelError, match="has no exits"):
        scorers.build("multi_exit_taylor").score(plain, [group], batches, exit_losses)


def test_gates_at_outputs_keywords_and_modules_used_twice():
    """The gate may be an output that is changed in place, and a module may run more than once."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.wide, self.act, self.narrow = nn.Linear(3, 5), nn.ReLU(inplace=True), nn.Linear(5, 3)

        def forward(self, x):
            for _ in range(2):
                x = self.narrow(input=self.act(self.wide(x)))
            return x

    torch.manual_seed(0)
    net, inputs = Net().double(), torch.randn(4, 3, dtype=torch.float64)

    def loss(model, batch):
        return model(batch).square().mean()

    # ReLU is positively homogeneous, so a factor behind it is the same as one before it.
    gates = [Gate(net.narrow), Gate(net.wide, "output"), Gate(net.act, "output")]
    found = [
        scorers.build("taylor").score(net, [SlicedGroup("g", "neurons", 5, gates=[gate])], [inputs], loss)[
            "g"
        ]
        for gate in gates
    ]
    loss(net, inputs).backward()
    expected = (net.narrow.weight * net.narrow.weight.grad).sum(0).abs().float()
    for value in found:
        assert torch.allclose(value, expected, rtol=1e-5)


def test_bfloat16_is_summed_in_float32():
    model = multi_exit_mlp(hidden_size=32, neurons=16)
    batches = token_batches(sizes=(32,), hidden_size=32)
    expected = scorers.build("taylor_example").score(model, neuron_groups(model), batches, exit_losses)

    def loss(model, one):
        with torch.autocast("cpu", torch.bfloat16):
            return exit_losses(model, one).float()

    found = scorers.build("taylor_example").score(model, neuron_groups(model), batches, loss)
    for name in expected:
        assert torch.allclose(found[name], expected[name], rtol=0.1, atol=0.02 * expected[name].max())


def test_ranks_are_scored_by_themselves():
    model = multi_exit(dtype=torch.float32)
    groups = groups_of(model, "rank", "heads")
    scores = scorers.build("taylor").score(model, groups, [batch()], losses)
    assert list(scores) == [g.name for g in groups]
    weight = model.backbone.embeddings.word_embeddings.weight
    assert torch.allclose(scores["embeddings.rank"], torch.linalg.svdvals(weight.detach()), rtol=1e-4)
    assert scorers.build("taylor").score(model, groups[:1]).keys() == {"embeddings.rank"}
