"""The plan of a pruner: what its steps then do, counted by hand on the cut model; and what is printed."""

from __future__ import annotations

import pytest
import torch
from families import backbone, batch
from pruning_toys import images, multi_exit_mlp, neuron_groups, small_cnn
from torch import nn

import prunekit
from prunekit.granularities import Granularity
from prunekit.pruner import Pruner
from prunekit.reports.counting import count

TARGET = {"name": "target", "parameters": "2.2x", "minimum": {"heads": 2}}
GLOBAL = {"name": "target", "parameters": "2.2x", "distribution": "global"}


class ByHand(Granularity):
    """The neurons of a module of no known family."""

    def __init__(self):
        self.excluded = {"exits": "they are what the model gives"}

    def groups(self, model):
        return neuron_groups(model)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("budget", [{"name": "sizes", "heads": 1, "neurons": 12, "rank": 5}, TARGET])
def test_the_steps_do_what_the_plan_says(budget):
    model = backbone("bert")
    pruner = Pruner(model, ["heads", "neurons", "rank"], "magnitude", budget=budget, steps=4)
    plan = pruner.plan(sequence_length=32)
    assert len(plan) == 5 and plan[0].sizes == {g.name: g.initial_size for g in pruner.groups}
    assert plan[0].parameters == parameters(model) and plan.notes == ()
    for row in plan[1:]:
        pruner.step()
        assert row.sizes == {g.name: g.size for g in pruner.groups}
        assert row.parameters == parameters(model)
        assert row.macs == count(model, sequence_length=32).total.macs and row.flops == 2 * row.macs
    assert [row.fraction for row in plan] == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_in_the_middle_of_the_way_only_what_is_left_is_planned():
    pruner = Pruner(backbone("bert"), "heads", "magnitude", budget={"name": "sizes", "heads": 1}, steps=3)
    pruner.step()
    plan = pruner.plan()
    assert [row.step for row in plan] == [1, 2, 3]
    assert [sorted(set(row.sizes.values())) for row in plan] == [[3], [2], [1]]


def test_a_ranking_across_groups_is_planned_once_there_are_scores():
    pruner = Pruner(backbone("bert"), ["heads", "neurons"], budget=GLOBAL, steps=2)
    plan = pruner.plan()
    assert plan[0].sizes and [row.sizes for row in plan[1:]] == [None, None]
    assert plan[1].parameters is None and plan.notes == ("there are no scores for layers.0.heads",)
    assert "there are no scores" in str(plan)
    pruner.score([batch()], loss=lambda model, inputs: model(**inputs).last_hidden_state.square().mean())
    plan = pruner.plan()
    assert len(plan.notes) == 1 and "present scores" in plan.notes[0]
    pruner.step()
    assert plan[1].sizes == {g.name: g.size for g in pruner.groups}
    needs_none = Pruner(backbone("bert"), ["heads", "neurons"], "magnitude", budget=GLOBAL)
    last = needs_none.plan()[-1]
    needs_none.step()
    assert last.sizes == {g.name: g.size for g in needs_none.groups} and needs_none.done


def test_channels_and_what_they_leave_out():
    model = small_cnn()
    channels = {"name": "channels", "example_inputs": images(2)}
    pruner = Pruner(model, channels, "magnitude", budget={"name": "ratio", "keep": 0.5})
    plan = pruner.plan()
    assert plan.excluded == {"head": "the model returns them"}
    pruner.step()
    assert plan[-1].parameters == parameters(model)
    assert plan[-1].macs == count(model, example_inputs=images(1)).total.macs
    assert "left out: head: the model returns them" in str(plan)


def test_models_that_no_example_can_be_made_of_have_parameters_alone():
    model = multi_exit_mlp()
    pruner = Pruner(model, ByHand(), "magnitude", budget={"name": "ratio", "keep": 0.5})
    plan = pruner.plan()
    assert plan.excluded == ByHand().excluded and "example_inputs" in plan.notes[0]
    assert plan[-1].macs is None
    measured = pruner.plan(example_inputs=torch.randn(1, 4, 6))
    pruner.step()
    assert plan[-1].parameters == parameters(model)
    # Four blocks for four tokens, 6 x 4 and 4 x 6; four exits of 6 x 3.
    assert measured[-1].macs == 4 * (4 * 2 * 6 * 4) + 4 * 6 * 3


def test_tables():
    model = backbone("bert")
    pruner = Pruner(model, ["heads", "neurons", "rank"], "magnitude", budget=TARGET, steps=2)
    assert repr(pruner).splitlines()[1:] == [
        "granularity  groups  units of each  at first",
        "heads             3              4         4",
        "neurons           3             48        48",
        "rank              1             32        32",
    ]
    first = repr(pruner).splitlines()[0]
    assert first.startswith("Pruner(BertModel, Magnitude(p=2.0), Target(measure='parameters', amount=2.2")
    assert first.endswith("Linear()): 0 of 2 steps done, 0% of the way")
    plan = str(pruner.plan()).splitlines()
    assert plan[0].split() == ["step", "parameters", "multiply-adds", "heads", "neurons", "rank"]
    assert plan[1].split() == ["now", f"{parameters(model):,}", *plan[1].split()[2:3], "4", "48", "32"]
    pruner.step()
    assert repr(pruner).splitlines()[0].endswith("1 of 2 steps done, 50% of the way")
    channels = {"name": "channels", "example_inputs": images(200)}
    wide = Pruner(small_cnn(), channels, "magnitude", budget={"name": "ratio", "keep": 0.5})
    assert "6 to 12" in repr(wide) and len(repr(wide)) < 400


def test_counts_are_a_table():
    counts = prunekit.count(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), example_inputs=torch.zeros(1, 4))
    assert str(counts).splitlines() == [
        "module  type        parameters  multiply-adds  FLOPs",
        "total   Sequential          40             32     64",
        "0       Linear              40             32     64",
        "1       ReLU                 0              0      0",
    ]
    deep = str(prunekit.count(backbone("bert"), sequence_length=8))
    assert "encoder.layer.0.attention " in deep and "and 42 modules inside of these" in deep
