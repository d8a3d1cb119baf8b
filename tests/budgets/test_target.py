"""Targets against brute-force enumeration, and on real models."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import torch
from families import backbone
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pruning_toys import images, small_cnn
from torch import nn
from transformers import BertConfig, BertModel

from prunekit.budgets import registry as budgets
from prunekit.budgets.target import Target, parse_amount
from prunekit.costs import CostModel
from prunekit.errors import BudgetError
from prunekit.exits import MultiExitForSequenceClassification
from prunekit.granularities import registry as granularities
from prunekit.granularities.channels import Channels
from prunekit.groups import Slice, SlicedGroup
from prunekit.pruner import Pruner


class Bottlenecks(nn.Module):
    """Pairs of matrices without biases, so that a unit of pair i costs exactly ``2 * widths[i]``."""

    def __init__(self, widths, sizes):
        super().__init__()
        self.inner = nn.ModuleList(nn.Linear(w, s, bias=False) for w, s in zip(widths, sizes, strict=True))
        self.outer = nn.ModuleList(nn.Linear(s, w, bias=False) for w, s in zip(widths, sizes, strict=True))

    def forward(self, *inputs):
        triples = zip(inputs, self.inner, self.outer, strict=True)
        return [outer(inner(x)) for x, inner, outer in triples]


def bottlenecks(widths, sizes):
    model = Bottlenecks(widths, sizes)
    groups = [
        SlicedGroup(
            f"pair.{i}",
            "neurons",
            s,
            slices=[Slice(model.inner[i], "weight", 0), Slice(model.outer[i], "weight", 1)],
        )
        for i, s in enumerate(sizes)
    ]
    return model, groups, tuple(torch.randn(1, w) for w in widths)


SMALL = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(pairs=SMALL, share=st.floats(0, 1), minimum=st.integers(1, 3))
def test_uniform_is_the_largest_common_share_filled_up(pairs, share, minimum):
    widths, sizes = zip(*pairs, strict=True)
    model, groups, inputs = bottlenecks(widths, sizes)

    def cost(units):
        return sum(2 * w * u for w, u in zip(widths, units, strict=True))

    least = [min(minimum, s) for s in sizes]
    goal = cost(least) + share * (cost(sizes) - cost(least))
    assume(goal >= cost(least))
    budget = Target(parameters=goal, minimum=minimum, example_inputs=inputs)
    found = list(budget.sizes(model, groups).values())
    assert cost(found) <= goal
    # The largest common share that fits, by trying every share at which a size changes: pair i of L rounds up
    # from a remainder of (i + 1/2) / L.
    corners = [((i + 0.5) / len(sizes), s) for i, s in enumerate(sizes)]
    shares = sorted({(k - 1 + corner) / s for corner, s in corners for k in range(1, s + 1)})

    def at(ratio):
        units = [int(ratio * s + 1 - corner + 1e-9) for corner, s in corners]
        return [max(low, u) for low, u in zip(least, units, strict=True)]

    common = at(max((r for r in shares if cost(at(r)) <= goal), default=0.0))
    assert all(f >= c for f, c in zip(found, common, strict=True))
    # Nothing is left that would still fit.
    for i in range(len(found)):
        grown = [u + (i == j) for j, u in enumerate(found)]
        assert found[i] == sizes[i] or cost(grown) > goal


@settings(max_examples=60, deadline=None)
@given(
    pairs=SMALL, share=st.floats(0, 1), seed=st.integers(0, 99), normalize=st.sampled_from(["sum", "none"])
)
def test_global_removes_the_cheapest_first(pairs, share, seed, normalize):
    """A plain loop: remove the unit with the least importance a parameter until the target is met."""
    widths, sizes = zip(*pairs, strict=True)
    model, groups, inputs = bottlenecks(widths, sizes)
    generator = torch.Generator().manual_seed(seed)
    scores = {g.name: torch.rand(g.size, generator=generator) for g in groups}
    total = sum(2 * w * s for w, s in zip(widths, sizes, strict=True))
    least = sum(2 * w for w in widths)
    goal = least + share * (total - least)
    assume(goal >= least)
    budget = Target(parameters=goal, distribution="global", normalize=normalize, example_inputs=inputs)
    kept = budget.keep(model, groups, scores)

    worth = []
    for i, g in enumerate(groups):
        values = scores[g.name].double()
        values = values / values.sum() if normalize == "sum" else values
        worth += [(float(v) / (2 * widths[i] if g.size > 1 else 1), i, u) for u, v in enumerate(values)]
    left = {(i, u) for _, i, u in worth}
    cost = total
    removed = []
    for _, i, u in sorted(worth):
        if cost <= goal:
            break
        if sum(j == i for j, _ in left) > 1:
            left.remove((i, u))
            removed.append((i, u))
            cost -= 2 * widths[i]
    # Cheaper units of other groups come back where the last removal left room.
    full = set()
    for i, u in reversed(removed):
        if i not in full and cost + 2 * widths[i] <= goal:
            left.add((i, u))
            cost += 2 * widths[i]
        else:
            full.add(i)
    assert {(i, u) for i, g in enumerate(groups) for u in kept[g.name].tolist()} == left


def test_global_is_optimal_where_units_cost_the_same():
    """With equal costs, the kept set has the largest importance of all sets that fit."""
    model, groups, inputs = bottlenecks([3, 3], [4, 4])
    generator = torch.Generator().manual_seed(0)
    scores = {g.name: torch.rand(4, generator=generator) for g in groups}
    budget = Target(parameters=6 * 5, distribution="global", normalize="none", example_inputs=inputs)
    kept = budget.keep(model, groups, scores)
    value = sum(float(scores[n][k].sum()) for n, k in kept.items())
    best = 0.0
    for sizes in itertools.product(range(1, 5), repeat=2):
        if sum(sizes) <= 5:
            tops = [scores[g.name].topk(s).values.sum() for g, s in zip(groups, sizes, strict=True)]
            best = max(best, float(sum(tops)))
    assert value == pytest.approx(best)


def groups_of(model, *names):
    return [group for name in names for group in granularities.build(name).groups(model)]


@pytest.mark.parametrize("distribution", ["uniform", "global"])
@pytest.mark.parametrize(
    ("target", "measure"),
    [({"parameters": "2x"}, "parameters"), ({"flops": "3x"}, "flops"), ({"macs": 150_000}, "macs")],
)
@pytest.mark.parametrize("family", ["bert", "llama"])
def test_targets_of_transformers_are_met_when_slimmed(family, target, measure, distribution):
    model = backbone(family)
    groups = groups_of(model, "heads", "neurons", "rank")
    before = CostModel(model, groups, 16).total()
    scores = {g.name: torch.rand(g.size, generator=torch.Generator().manual_seed(0)) for g in groups}
    budget = budgets.build({"name": "target", **target, "distribution": distribution, "sequence_length": 16})
    budget.check(model, groups)
    kept = budget.keep(model, groups, scores)
    for group in groups:
        group.keep(kept[group.name])
    amount = target.get("parameters") or target.get("flops")
    goal = getattr(before, measure) / float(amount[:-1]) if amount else target["macs"]
    after = getattr(CostModel(model, groups, 16).total(), measure)
    assert 0.95 * goal <= after <= goal
    if measure == "parameters":
        assert after == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("distribution", ["uniform", "global"])
def test_steps_interpolate_the_cost_and_end_at_the_target(distribution):
    model = backbone("bert")
    groups = groups_of(model, "heads", "neurons", "rank")
    start = sum(p.numel() for p in model.parameters())
    budget = Target(parameters="2x", distribution=distribution)
    seen = []
    for step in range(1, 5):
        scores = {g.name: torch.rand(g.size, generator=torch.Generator().manual_seed(step)) for g in groups}
        for name, indices in budget.keep(model, groups, scores, step / 4).items():
            next(g for g in groups if g.name == name).keep(indices)
        seen.append(sum(p.numel() for p in model.parameters()))
        assert seen[-1] <= start - (start / 2) * step / 4
    assert seen == sorted(seen, reverse=True)
    assert 0.97 * start / 2 <= seen[-1] <= start / 2
    assert all(g.initial_size >= g.size for g in groups)


def test_channels_bring_their_own_inputs():
    model = small_cnn()
    groups = Channels(images(1)).groups(model)
    scores = {g.name: torch.rand(g.size) for g in groups}
    before = sum(p.numel() for p in model.parameters())
    budget = budgets.build({"name": "target", "parameters": "3x", "distribution": "global"})
    for group, indices in zip(groups, budget.keep(model, groups, scores).values(), strict=True):
        group.keep(indices)
    assert sum(p.numel() for p in model.parameters()) <= before / 3
    assert model(images()).shape == (4, 3)


def test_minimum_a_granularity():
    model = backbone("bert")
    groups = groups_of(model, "heads", "neurons")
    budget = Target(parameters="1.5x", minimum={"neurons": 40, "heads": 1})
    sizes = budget.sizes(model, groups)
    assert all(sizes[g.name] >= 40 for g in groups if g.granularity == "neurons")
    ranks = groups_of(model, "rank")
    scores = {g.name: g.intrinsic_importance() for g in ranks}
    # Of 32 ranks two stay where nothing is said: a target that only one would meet is out of reach.
    two, one = (CostModel(model, ranks).total({"embeddings.rank": n}).parameters for n in (2, 1))
    for distribution in ("uniform", "global"):
        by_itself = Target(parameters=two, distribution=distribution)
        assert by_itself.sizes(model, ranks, scores=scores) == {"embeddings.rank": 2}
        with pytest.raises(BudgetError, match="less than these groups can reach"):
            Target(parameters=one, distribution=distribution).check(model, ranks)
        asked = Target(parameters=one, distribution=distribution, minimum={"rank": 1})
        assert asked.sizes(model, ranks, scores=scores) == {"embeddings.rank": 1}
    with pytest.raises(BudgetError, match="names 'rank'"):
        Target(parameters="1.5x", minimum={"rank": 4}).check(model, groups)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("8x", (8.0, True)),
        ("2.5X", (2.5, True)),
        ("3.4M", (3.4e6, False)),
        ("850k", (8.5e5, False)),
        ("1.2G", (1.2e9, False)),
        ("0.5B", (5e8, False)),
        ("1T", (1e12, False)),
        ("3.4e6", (3.4e6, False)),
        (" 1000 ", (1000.0, False)),
        (123, (123.0, False)),
        (4.5e6, (4.5e6, False)),
    ],
)
def test_amounts(value, expected):
    assert parse_amount("parameters", value) == expected


@pytest.mark.parametrize("value", ["8y", "x", "", "-3M", "0", "8 times", "nan", "inf", True, "1e400M"])
def test_amounts_that_are_none(value):
    with pytest.raises(BudgetError, match=r"target\.parameters: .* neither an amount nor a factor"):
        Target(parameters=value)


def test_targets_out_of_reach_say_what_is_reachable():
    model = backbone("bert")
    groups = groups_of(model, "heads", "neurons")
    total = sum(p.numel() for p in model.parameters())
    smallest = CostModel(model, groups).total({g.name: 1 for g in groups}).parameters
    for target in ("0.5x", total + 1):
        with pytest.raises(BudgetError, match="larger than the model"):
            Target(parameters=target).check(model, groups)
    for target in ("100x", smallest - 1):
        with pytest.raises(
            BudgetError, match=rf"less than these groups can reach\n.*{smallest / 1e3:.4g}k to"
        ):
            Target(parameters=target).check(model, groups)
    Target(parameters=smallest).check(model, groups)
    assert set(Target(parameters=smallest).sizes(model, groups).values()) == {1}
    Target(parameters=total).check(model, groups)
    assert Target(parameters=total).sizes(model, groups) == {g.name: g.size for g in groups}
    with pytest.raises(BudgetError, match="no scores for"):
        Target(parameters="2x", distribution="global").sizes(model, groups)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"parameters": "2x", "flops": "2x"},
        {"parameters": "2x", "distribution": "local"},
        {"parameters": "2x", "normalize": "max"},
        {"parameters": "2x", "minimum": 0},
        {"parameters": "2x", "minimum": {"heads": 1.5}},
    ],
)
def test_arguments_that_make_no_sense(arguments):
    with pytest.raises(BudgetError, match="target"):
        Target(**arguments)


def test_the_initial_cost_stays_what_it_was():
    """A factor such as 8x is of the model that came, also once its embedding is in two factors."""
    model = backbone("bert")
    groups = groups_of(model, "heads", "neurons", "rank")
    initial = {g.name: g.initial_size for g in groups}
    before = CostModel(model, groups).total()
    for group in groups:
        group.keep(torch.arange(group.size - 1))
    assert CostModel(model, groups).total(initial) == before


def lows_of(groups, minimum=None):
    """What every group keeps whatever comes, as the docstring says."""
    return {g.name: min(minimum or (max(1, g.size // 16) if g.ordered else 1), g.size) for g in groups}


@settings(max_examples=60, deadline=None)
@given(
    family=st.sampled_from(["bert", "electra", "llama"]),
    names=st.sampled_from([("rank",), ("heads", "rank"), ("heads", "neurons", "rank")]),
    measure=st.sampled_from(["parameters", "macs", "flops"]),
    distribution=st.sampled_from(["uniform", "global"]),
    factorized=st.integers(0, 20),
    share=st.floats(0, 1),
)
def test_targets_against_all_sizes_of_a_small_model(family, names, measure, distribution, factorized, share):
    """Every combination of sizes is looked at: least and most, and whether something more would have fitted.

    The embedding comes whole, or in two factors of the given rank.
    """
    model = backbone(family, num_hidden_layers=1, intermediate_size=3, vocab_size=40)
    if factorized:
        groups_of(model, "rank")[0].keep(torch.arange(factorized))
    groups = groups_of(model, *names)
    costs = CostModel(model, groups, 16)
    low = lows_of(groups)

    def cost(sizes):
        return getattr(costs.total(dict(zip(low, sizes, strict=True))), measure)

    whole = tuple(g.size for g in groups)
    every = {
        sizes: cost(sizes) for sizes in itertools.product(*(range(low[g.name], g.size + 1) for g in groups))
    }
    start, least = every[whole], min(every.values())
    goal = least + share * (start - least)
    assume(least <= goal <= start)
    budget = Target(**{measure: goal}, distribution=distribution, sequence_length=16)
    scores = {g.name: torch.rand(g.size, generator=torch.Generator().manual_seed(0)) for g in groups}
    scores |= {g.name: g.intrinsic_importance() for g in groups if g.ordered}
    budget.check(model, groups)
    found = tuple(budget.sizes(model, groups, 1.0, scores).values())
    assert every[found] <= goal
    # Nothing that keeps as much of every group, and more of one, would have fitted.
    more = [s for s in every if s != found and all(a >= b for a, b in zip(s, found, strict=True))]
    assert all(every[s] > goal for s in more)
    if goal == start:
        assert found == whole
    below = math.nextafter(least, 0)
    with pytest.raises(BudgetError, match="less than these groups can reach"):
        Target(**{measure: below}, distribution=distribution, sequence_length=16).check(model, groups)


@pytest.mark.parametrize("measure", ["macs", "flops"])
@pytest.mark.parametrize("distribution", ["uniform", "global"])
@pytest.mark.parametrize("fraction", [0.3, 1.0])
def test_multiply_adds_are_not_spent_on_a_smaller_rank(measure, distribution, fraction):
    model = backbone("bert")
    groups = groups_of(model, "heads", "neurons", "rank")
    scores = {g.name: torch.ones(g.size) for g in groups}
    budget = Target(**{measure: "2x"}, distribution=distribution, sequence_length=16)
    assert budget.sizes(model, groups, fraction, scores)["embeddings.rank"] == 32
    ranks = groups_of(model, "rank")
    with pytest.raises(BudgetError, match="less than these groups can reach"):
        Target(**{measure: "1.01x"}, sequence_length=16).check(model, ranks)


def test_a_rank_that_saves_nothing_is_no_size():
    """A rank of 90 x 32 costs 122 parameters, the whole matrix 2,880: 23 ranks are the most that save."""
    model = backbone("bert")
    ranks = groups_of(model, "rank")
    costs = CostModel(model, ranks)
    body = costs.total().parameters - 90 * 32
    for goal in range(body + 2 * (90 + 32), body + 90 * 32 + 1, 7):
        size = Target(parameters=goal).sizes(model, ranks)["embeddings.rank"]
        assert size == (32 if goal - body >= 90 * 32 else min((goal - body) // 122, 23))


def test_a_group_that_came_in_two_factors_begins_there():
    model = backbone("bert")
    for group in groups_of(model, "heads", "neurons", "rank"):
        group.keep(torch.arange(group.size // 2))
    start = sum(p.numel() for p in model.parameters())
    groups = groups_of(model, "heads", "neurons", "rank")
    assert [g.initial_size for g in groups] == [g.size for g in groups]
    with pytest.raises(BudgetError, match="larger than the model"):
        Target(parameters=start + 1).check(model, groups)
    with pytest.raises(BudgetError, match="cannot keep 17"):
        budgets.build({"name": "sizes", "rank": 17}).check(model, groups)
    assert set(Target(parameters="1x").sizes(model, groups).items()) == {(g.name, g.size) for g in groups}
    halves = budgets.build({"name": "ratio", "keep": 0.5}).sizes(model, groups)
    assert [halves[g.name] for g in groups] == [g.size // 2 for g in groups]
    # Step by step, each time with a new pruner, as a recipe's stage does it.
    state = None
    for step in range(1, 4):
        pruner = Pruner(
            model, ["heads", "neurons", "rank"], "random",
            budget={"name": "target", "parameters": "2x"}, steps=3, state=state,
        )  # fmt: skip
        pruner.step()
        state = json.loads(json.dumps(pruner.state_dict()))
        present = sum(p.numel() for p in model.parameters())
        goal = start - start / 2 * step / 3
        assert 0.95 * goal <= present <= goal + 1e-6


def test_states_of_earlier_versions_are_of_models_that_came_whole():
    """They do not say how the embedding came: the initial size is that of the one matrix, as it was then."""

    def make(model, state=None):
        return Pruner(
            model, ["heads", "neurons", "rank"], "random",
            budget={"name": "target", "parameters": "2x"}, steps=2, state=state,
        )  # fmt: skip

    found = []
    for old in (False, True):
        model = backbone("bert")
        pruner = make(model)
        pruner.step()
        state = {k: v for k, v in pruner.state_dict().items() if not (old and k == "whole")}
        again = make(model, state)
        again.step()
        found.append([g.size for g in again.groups])
    assert found[0] == found[1]


@pytest.mark.parametrize("measure", ["parameters", "macs"])
def test_sizes_of_bert_base_never_grow_as_the_factor_does(measure):
    """From the model as it is to a twelfth; and every target is met, to a tenth of a percent."""
    with torch.device("meta"):
        model = MultiExitForSequenceClassification.from_backbone(BertModel(BertConfig()))
    groups = groups_of(model, "heads", "neurons", "rank")
    costs = CostModel(model, groups)
    before = {g.name: g.size for g in groups}
    for step in range(30):
        factor = round(1.0001 * 12 ** (step / 29), 4)
        sizes = Target(**{measure: f"{factor}x"}).sizes(model, groups)
        goal = getattr(costs.total(), measure) / factor
        assert 0.999 * goal <= getattr(costs.total(sizes), measure) <= goal
        assert all(sizes[name] <= before[name] for name in sizes)
        before = sizes


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sequence_length", "64"), ("sequence_length", math.inf), ("sequence_length", 0),
        ("sequence_length", 1e30), ("sequence_length", 10**30), ("sequence_length", True),
        ("sequence_length", None), ("sequence_length", 64.0),
        ("example_inputs", "a"), ("example_inputs", 3), ("example_inputs", []), ("example_inputs", {"a": 1}),
        ("minimum", math.nan), ("minimum", "2"), ("minimum", True), ("minimum", []),
        ("minimum.heads", 2.0), ("distribution", {}), ("distribution", None), ("normalize", ["sum"]),
    ],
)  # fmt: skip
def test_arguments_of_a_wrong_type_are_refused_by_name(key, value):
    name, _, inner = key.partition(".")
    with pytest.raises(BudgetError, match=rf"target\.{key}: "):
        Target(parameters="2x", **{name: {inner: value} if inner else value})
