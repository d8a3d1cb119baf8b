"""Explicit sizes and shares."""

from __future__ import annotations

import math

import pytest
import torch
from families import backbone
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from prunekit.budgets import registry as budgets
from prunekit.errors import BudgetError, RecipeError
from prunekit.granularities import registry as granularities
from prunekit.groups import Group


class Plain(Group):
    """Units without parameters."""

    def keep(self, indices):
        self.size = self.checked(indices).numel()


def group(name="a.heads", granularity="heads", size=12, initial=None):
    made = Plain(name, granularity, size)
    made.initial_size = initial or size
    return made


MODEL = nn.Identity()


def bert_groups():
    model = backbone("bert")
    return model, [g for n in ("heads", "neurons", "rank") for g in granularities.build(n).groups(model)]


def test_the_papers_sizes_and_a_list():
    model, groups = bert_groups()
    budget = budgets.build({"name": "sizes", "heads": [1, 2, 4], "neurons": 16, "rank": 8})
    budget.check(model, groups)
    assert list(budget.sizes(model, groups).values()) == [1, 2, 4, 16, 16, 16, 8]
    assert list(budget.sizes(model, groups, 0.0).values()) == [4, 4, 4, 48, 48, 48, 32]
    assert list(budget.sizes(model, groups, 0.5).values()) == [2, 3, 4, 32, 32, 32, 20]
    part = budgets.build({"name": "sizes", "heads": 2})
    assert list(part.sizes(model, groups).values()) == [2, 2, 2, 48, 48, 48, 32]


def test_heads_leave_one_a_step():
    """The paper's schedule: as many steps as heads to remove, one head each."""
    heads, budget = group(), budgets.build({"name": "sizes", "heads": 2})
    sizes = [budget.sizes(MODEL, [heads], t / 10)["a.heads"] for t in range(11)]
    assert sizes == list(range(12, 1, -1))


@given(
    initial=st.integers(1, 200),
    target=st.integers(1, 200),
    present=st.integers(1, 200),
    fractions=st.lists(st.floats(0, 1), min_size=2, max_size=6),
)
def test_sizes_fall_to_the_target_and_never_grow(initial, target, present, fractions):
    target, present = min(target, initial), min(present, initial)
    units, budget = group(size=present, initial=initial), budgets.build({"name": "sizes", "heads": target})
    sizes = [budget.sizes(MODEL, [units], f)["a.heads"] for f in sorted(fractions)]
    assert sizes == sorted(sizes, reverse=True)
    assert all(min(target, present) <= s <= present for s in sizes)
    assert budget.sizes(MODEL, [units])["a.heads"] == min(target, present)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"heads": 5}, r"sizes\.heads: layers\.0\.heads \(heads, 4 units\) cannot keep 5\n.*1 to 4"),
        ({"heads": 0}, r"cannot keep 0"),
        ({"heads": [2, 2, 9]}, r"layers\.2\.heads .* cannot keep 9"),
        ({"heads": [2, 2]}, r"list has 2 sizes, but there are 3 groups of heads"),
        ({"heads": 2.5}, r"2\.5 is neither a whole number"),
        ({"heads": True}, r"True is not a whole number"),
        ({"heads": [2, "2", 1]}, r"'2' is not a whole number"),
        ({"neuron": 4}, r"names 'neuron', but nothing of that.*\n.*heads, neurons, rank"),
        ({"rank": 33}, r"embeddings\.rank .* cannot keep 33"),
    ],
)
def test_sizes_the_model_cannot_have(sizes, message):
    model, groups = bert_groups()
    with pytest.raises(BudgetError, match=f"(?s){message}"):
        budgets.build({"name": "sizes", **sizes}).check(model, groups)


def test_no_sizes_and_unknown_budgets():
    with pytest.raises(BudgetError, match="names no granularity"):
        budgets.build("sizes")
    with pytest.raises(RecipeError, match="did you mean 'sizes'"):
        budgets.build("size")


def test_ratio_of_all_and_of_some():
    model, groups = bert_groups()
    half = budgets.build({"name": "ratio", "keep": 0.5})
    assert list(half.sizes(model, groups).values()) == [2, 2, 2, 24, 24, 24, 16]
    tiny = budgets.build({"name": "ratio", "keep": 0.001})
    assert set(tiny.sizes(model, groups).values()) == {1}
    some = budgets.build({"name": "ratio", "keep": {"heads": 0.25, "rank": 0.1}})
    assert list(some.sizes(model, groups).values()) == [1, 1, 1, 48, 48, 48, 3]
    assert half.sizes(MODEL, [group(size=5)])["a.heads"] == 3


@pytest.mark.parametrize("keep", [0, -0.5, 1.5, "half", True, {"heads": 2}])
def test_shares_that_are_none(keep):
    with pytest.raises(BudgetError, match="not a share to keep"):
        budgets.build({"name": "ratio", "keep": keep})


def test_ratio_of_unknown_granularities():
    with pytest.raises(BudgetError, match="names 'channels'"):
        budgets.build({"name": "ratio", "keep": {"channels": 0.5}}).check(*bert_groups())


@given(scores=st.lists(st.floats(0, 10), min_size=1, max_size=30), data=st.data())
def test_the_best_are_kept(scores, data):
    count = data.draw(st.integers(1, len(scores)))
    units, values = group(size=len(scores)), torch.tensor(scores, dtype=torch.float64)
    budget = budgets.build({"name": "sizes", "heads": count})
    kept = budget.keep(MODEL, [units], {"a.heads": values})["a.heads"].tolist()
    assert kept == sorted(set(kept)) and len(kept) == count
    # The same set as a stable sort by hand: ties go to the first.
    assert kept == sorted(sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:count])


def test_ordered_groups_keep_a_prefix_and_whole_groups_need_no_score():
    ranks = group("rank", "rank", 6)
    ranks.ordered = True
    heads = group()
    budget = budgets.build({"name": "sizes", "rank": 2})
    kept = budget.keep(MODEL, [ranks, heads], {"rank": torch.arange(6.0)})
    assert kept["rank"].tolist() == [0, 1]
    assert kept["a.heads"].tolist() == list(range(12))


def test_missing_and_stale_scores():
    budget = budgets.build({"name": "sizes", "heads": 2})
    with pytest.raises(BudgetError, match=r"no scores for a\.heads"):
        budget.keep(MODEL, [group()], {})
    with pytest.raises(BudgetError, match=r"shape \(11,\), but it has 12 units"):
        budget.keep(MODEL, [group()], {"a.heads": torch.ones(11)})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("budget", [{"name": "sizes", "heads": 2}, {"name": "ratio", "keep": 0.5}])
def test_a_score_that_is_no_number_is_refused(budget, value):
    """Also one of a group that keeps all: whatever gave it cannot be relied on."""
    scores = {"a.heads": torch.ones(12), "b.neurons": torch.ones(4)}
    units = [group(), group("b.neurons", "neurons", 4)]
    scores["b.neurons"][2] = value
    with pytest.raises(BudgetError, match=r"b\.neurons: that of unit 2 is -?(nan|inf)"):
        budgets.build(budget).keep(MODEL, units, scores)


def test_a_ratio_of_nothing_is_refused():
    with pytest.raises(BudgetError, match="names no granularity"):
        budgets.build({"name": "ratio", "keep": {}})
