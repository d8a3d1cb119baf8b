"""The pruner: the same few lines for every model, step by step, resumed, and with its errors."""

from __future__ import annotations

import doctest
import json

import pytest
import torch
from families import backbone, batch
from pruning_toys import images, small_cnn
from torch import nn
from torch.nn.functional import cross_entropy

import prunekit.pruner
from prunekit.errors import BudgetError, CheckpointError, PrunekitError, RecipeError
from prunekit.exits import MultiExitForSequenceClassification
from prunekit.pruner import Pruner

LABELS = torch.tensor([0, 2, 1, 1, 0])


def multi_exit():
    return MultiExitForSequenceClassification.from_backbone(backbone("bert"), num_labels=3, reads="mean")


def exit_losses(model, inputs):
    logits = model(**inputs, all_exits=True).exit_logits
    return torch.stack([cross_entropy(exit_logits, LABELS) for exit_logits in logits])


def papers_pruner(model, **options):
    """COST-EFF on a tiny BERT: heads leave one a step."""
    return Pruner(
        model,
        ["heads", "neurons", "rank"],
        scorer="multi_exit_taylor",
        budget={"name": "sizes", "heads": 1, "neurons": 12, "rank": 5},
        steps=3,
        **options,
    )


def test_docstring_example_runs():
    torch.manual_seed(0)
    result = doctest.testmod(prunekit.pruner)
    assert result.attempted > 5 and result.failed == 0


@pytest.mark.parametrize("scorer", ["taylor", "taylor_example", "taylor_published", "magnitude", "random"])
def test_one_line_for_a_cnn(scorer):
    model = small_cnn()
    channels = {"name": "channels", "example_inputs": images(2)}
    pruner = Pruner(model, [channels], scorer, budget={"name": "ratio", "keep": 0.5})
    if pruner.scorer.needs_data:
        pruner.score([images(5)], loss=lambda m, b: cross_entropy(m(b), LABELS))
    kept = pruner.step()
    assert {name: len(k) for name, k in kept.items()} == {"stem": 3, "inner": 5, "hidden": 6}
    assert pruner.done and pruner.fraction == 1.0
    assert model(images()).shape == (4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model.stem.weight.detach().clone()
    model(images()).sum().backward()
    optimizer.step()
    assert not torch.equal(model.stem.weight, before)


def test_iterative_slenderizing():
    model, inputs = multi_exit().train(), batch()
    pruner = papers_pruner(model)
    sizes = []
    while not pruner.done:
        scores = pruner.score([inputs, batch(seed=2)], loss=exit_losses)
        weights = {g.name: g.slices[-1].tensor.detach().clone() for g in pruner.groups if g.slices}
        kept = pruner.step()
        for group in pruner.groups:
            if not group.slices:
                continue
            # The best units of each group, and their own columns of the output matrix.
            count = len(kept[group.name])
            assert torch.equal(kept[group.name], scores[group.name].topk(count).indices.sort().values)
            columns = group.slices[-1].positions(kept[group.name])
            assert torch.equal(group.slices[-1].tensor, weights[group.name][:, columns])
        sizes.append([g.size for g in pruner.groups])
        assert pruner.scores == {}
    assert sizes == [[3] * 3 + [36] * 3 + [23], [2] * 3 + [24] * 3 + [14], [1] * 3 + [12] * 3 + [5]]
    assert model.training and model(**inputs).exit_logits.shape == (3, 5, 3)
    assert [pruner.steps_done, pruner.fraction] == [3, 1.0]
    with pytest.raises(PrunekitError, match="all 3 steps are done"):
        pruner.step()


def test_summary_and_state_are_plain():
    pruner = papers_pruner(multi_exit())
    pruner.score([batch()], loss=exit_losses)
    pruner.step()
    summary = json.loads(json.dumps(pruner.summary()))
    assert summary["layers.1.heads"] == {"granularity": "heads", "layer": 1, "initial_size": 4, "size": 3}
    assert summary["embeddings.rank"] == {
        "granularity": "rank",
        "layer": None,
        "initial_size": 32,
        "size": 23,
    }
    state = json.loads(json.dumps(pruner.state_dict()))
    assert state["steps_done"] == 1 and state["initial_sizes"]["layers.0.neurons"] == 48


def test_resumed_pruning_takes_the_same_steps():
    straight, resumed = multi_exit(), multi_exit()
    pruner = papers_pruner(straight)
    for _ in range(3):
        pruner.score([batch()], loss=exit_losses)
        expected = pruner.step()
    other = papers_pruner(resumed)
    for _ in range(3):
        other.score([batch()], loss=exit_losses)
        found = other.step()
        state = json.loads(json.dumps(other.state_dict()))
        other = papers_pruner(resumed)
        other.load_state_dict(state)
    assert other.done
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_targets_relative_to_the_initial_model_resume_with_their_state():
    def make(model, **options):
        budget = {"name": "target", "parameters": "2.2x", "minimum": {"heads": 2}}
        return Pruner(model, ["heads", "neurons", "rank"], "magnitude", budget=budget, steps=2, **options)

    model = backbone("bert")
    start = sum(p.numel() for p in model.parameters())
    pruner = make(model)
    pruner.step()
    with pytest.raises(BudgetError, match="can reach"):
        make(model)
    again = make(model, state=pruner.state_dict())
    again.step()
    assert again.done
    assert 0.95 * start / 2.2 <= sum(p.numel() for p in model.parameters()) <= start / 2.2


def test_states_of_other_models_are_refused():
    state = papers_pruner(multi_exit()).state_dict()
    pruner = papers_pruner(multi_exit())
    with pytest.raises(CheckpointError, match=r"layers\.1\.heads has 4 units here and 2 there"):
        pruner.load_state_dict(state | {"sizes": state["sizes"] | {"layers.1.heads": 2}})
    with pytest.raises(CheckpointError, match="is of 5 steps, but this one has 3"):
        pruner.load_state_dict(state | {"steps": 5})
    with pytest.raises(CheckpointError, match="lacks sizes"):
        pruner.load_state_dict({k: v for k, v in state.items() if k != "sizes"})


def test_scores_must_be_fresh():
    pruner = papers_pruner(multi_exit())
    with pytest.raises(PrunekitError, match=r"layers\.0\.heads has no scores"):
        pruner.step()
    pruner.score([batch()], loss=exit_losses)
    pruner.step()
    with pytest.raises(PrunekitError, match="before every step"):
        pruner.step()
    ranks = Pruner(multi_exit(), "rank", budget={"name": "sizes", "rank": 4})
    assert ranks.step()["embeddings.rank"].tolist() == [0, 1, 2, 3]


def test_everything_is_checked_before_any_compute():
    model = multi_exit()
    with pytest.raises(BudgetError, match="cannot keep 9"):
        Pruner(model, ["heads"], budget={"name": "sizes", "heads": 9})
    with pytest.raises(RecipeError, match="did you mean 'heads'"):
        Pruner(model, ["head"], budget={"name": "ratio", "keep": 0.5})
    with pytest.raises(PrunekitError, match="steps: 0"):
        Pruner(model, ["heads"], budget={"name": "ratio", "keep": 0.5}, steps=0)
    with pytest.raises(PrunekitError, match="two groups are called"):
        Pruner(model, ["heads", "heads"], budget={"name": "ratio", "keep": 0.5})
    with pytest.raises(PrunekitError, match="no granularity"):
        Pruner(model, [], budget={"name": "ratio", "keep": 0.5})


def test_one_shot_and_cubic_schedules():
    for scheduler, widths in (("one_shot", [4, 4]), ("cubic", [5, 4])):
        model = nn.Sequential(nn.Linear(3, 12), nn.ReLU(), nn.Linear(12, 2))
        channels = {"name": "channels", "example_inputs": torch.randn(1, 3)}
        pruner = Pruner(
            model,
            channels,
            "magnitude",
            budget={"name": "sizes", "channels": 4},
            scheduler=scheduler,
            steps=2,
        )
        seen = []
        while not pruner.done:
            pruner.step()
            seen.append(model[0].out_features)
        assert seen == widths


def test_a_score_that_is_no_number_ends_the_step():
    """Before anything is cut, by group and unit."""
    pruner = papers_pruner(multi_exit())
    pruner.score([batch()], loss=exit_losses)
    pruner.scores["layers.1.neurons"][7] = float("nan")
    with pytest.raises(BudgetError, match=r"layers\.1\.neurons: that of unit 7 is nan"):
        pruner.step()
    assert pruner.steps_done == 0 and all(g.size == g.initial_size for g in pruner.groups)
