"""The common tester: every registered part passes, and parts that break a rule do not."""

from __future__ import annotations

import pytest
import torch
from families import ENCODERS, FAMILIES, batch, task_model
from pruning_toys import images, small_cnn
from torch.nn.functional import cross_entropy

from prunekit import testing
from prunekit.budgets import Budget
from prunekit.budgets import registry as budgets
from prunekit.distill import Loss
from prunekit.distill.losses import registry as losses
from prunekit.errors import RecipeError
from prunekit.exits import ExitHead, ExitPolicy
from prunekit.exits.heads import registry as heads
from prunekit.exits.policies import registry as policies
from prunekit.granularities import registry as granularities
from prunekit.schedulers import Scheduler
from prunekit.schedulers import registry as schedulers
from prunekit.scorers import registry as scorers
from prunekit.scorers.magnitude import Magnitude

BUDGETS = {
    "ratio": [{"keep": 0.5}, {"keep": {"heads": 0.25}}],
    "sizes": [{"heads": 2, "neurons": 7, "rank": 3}],
    "target": [{"parameters": "2x"}, {"flops": "3x", "distribution": "global"}],
}


@pytest.mark.parametrize("name", scorers.names())
def test_scorers(name):
    testing.check_scorer(scorers.build(name))


@pytest.mark.parametrize("name", schedulers.names())
def test_schedulers(name):
    testing.check_scheduler(schedulers.build(name))


@pytest.mark.parametrize("name", budgets.names())
def test_budgets(name):
    for arguments in BUDGETS[name]:
        testing.check_budget(budgets.build({"name": name, **arguments}))


@pytest.mark.parametrize("name", policies.names())
def test_exit_policies(name):
    testing.check_exit_policy(policies.build(name))


@pytest.mark.parametrize("name", heads.names())
def test_exit_heads(name):
    testing.check_exit_head(heads.get(name))


class Gated(ExitHead):
    """Says nothing of what becomes of its gate in a narrower model."""

    def add_layers(self, hidden_size):
        self.gate = torch.nn.Linear(hidden_size, hidden_size)

    def transform(self, read):
        return read * self.gate(read)


class OfTheBatch(ExitHead):
    """Looks at the other examples."""

    def transform(self, read):
        return read - read.mean(dim=0)


def test_exit_heads_that_break_a_rule():
    with pytest.raises(RecipeError, match=r"gate\.weight has 12 in \(12, 12\), and hidden_dims"):
        testing.check_exit_head(Gated)
    with pytest.raises(AssertionError, match="other logits alone"):
        testing.check_exit_head(OfTheBatch)


@pytest.mark.parametrize("name", losses.names())
def test_losses(name):
    loss = losses.build(name)
    if loss.needs_match:  # tests/stages/test_students.py
        with pytest.raises(ValueError, match="models of other sizes"):
            testing.check_loss(loss)
    else:
        testing.check_loss(loss)


class OfPadding(Loss):
    """Reads the hidden states of padding too."""

    needs_teacher = False
    needs_hidden_states = True

    def __call__(self, output, taught, batch):
        return output.hidden_states[-1].square().sum()


class TooMany(Loss):
    """One value an example."""

    needs_teacher = False

    def __call__(self, output, taught, batch):
        return output.exit_logits.square().sum(-1)


class OfNothing(Loss):
    """Nothing to learn."""

    needs_teacher = False

    def __call__(self, output, taught, batch):
        return (output.exit_logits * 0).sum()


class OfLabels(Loss):
    """Every example has a label, it thinks."""

    needs_teacher = False

    def __call__(self, output, taught, batch):
        return torch.stack([cross_entropy(logits, batch["labels"]) for logits in output.exit_logits])


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (OfPadding, "padding changes it"),
        (TooMany, "one value per exit"),
        (OfNothing, "nothing is learned"),
        (OfLabels, "which is none"),
    ],
)
def test_losses_that_break_a_rule(loss, words):
    with pytest.raises(AssertionError, match=words):
        testing.check_loss(loss())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["heads", "neurons", "rank"])
def test_granularities(name, family):
    testing.check_granularity(granularities.build(name), task_model(family), batch())


def test_channels():
    channels = granularities.build({"name": "channels", "example_inputs": images(2)})
    testing.check_granularity(channels, small_cnn(), {"images": images()})


def test_every_granularity_is_tested():
    assert set(granularities.names()) == {"heads", "neurons", "rank", "channels"}
    assert "bert" in ENCODERS


class Changes(Magnitude):
    def score(self, model, groups, batches=(), loss=None):
        model.eval()
        return super().score(model, groups, batches, loss)


class Forgets(Magnitude):
    def score(self, model, groups, batches=(), loss=None):
        scores = super().score(model, groups, batches, loss)
        scores.popitem()
        return scores


class Overwrites(Magnitude):
    def score(self, model, groups, batches=(), loss=None):
        return {g.name: torch.ones(g.size) for g in groups}


class Negative(Magnitude):
    def score(self, model, groups, batches=(), loss=None):
        return {name: -values for name, values in super().score(model, groups, batches, loss).items()}


@pytest.mark.parametrize(
    ("scorer", "rule"),
    [(Changes, "leave"), (Forgets, "every group"), (Overwrites, "ranks itself"), (Negative, ">= 0")],
)
def test_scorers_that_break_a_rule(scorer, rule):
    with pytest.raises(AssertionError, match=rule):
        testing.check_scorer(scorer())


class Early(Scheduler):
    def fraction(self, step, steps):
        return min(1.0, 2 * self.progress(step, steps)) if step < steps else 0.5


class Lax(Scheduler):
    def fraction(self, step, steps):
        return min(max(step / steps, 0.0), 1.0)


@pytest.mark.parametrize(("scheduler", "rule"), [(Early, "from 0 to 1"), (Lax, "ValueError")])
def test_schedulers_that_break_a_rule(scheduler, rule):
    with pytest.raises(AssertionError, match=rule):
        testing.check_scheduler(scheduler())


class Grows(Budget):
    def check(self, model, groups):
        pass

    def sizes(self, model, groups, fraction=1.0, scores=None):
        return {g.name: g.size if fraction in (0.0, 0.5, 1.0) else g.size - 1 for g in groups}


def test_budgets_that_break_a_rule():
    with pytest.raises(AssertionError, match="then"):
        testing.check_budget(Grows())


class Together(ExitPolicy):
    """As COST-EFF's published code: the whole batch leaves together."""

    def leaves(self, history, exit_index):
        uncertain = (history[-1].softmax(-1).amax(-1) < 0.9).any()
        return torch.full(history.shape[1:2], not bool(uncertain))


def test_policies_that_break_a_rule():
    with pytest.raises(AssertionError, match="alone"):
        testing.check_exit_policy(Together())
