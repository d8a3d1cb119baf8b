"""Choosing against brute force, and the promise over many calibrations."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import simulated
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from prunekit.calibration import calibrate, harms, nothing_safe
from prunekit.calibration.choosing import choose, fixed_sequence
from prunekit.errors import RecipeError
from prunekit.exits.policies import sweep_of

SPLITS = 200


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0.01, 0.5))
def test_fixed_sequence_is_the_plain_loop(values: list[float], level: float) -> None:
    count = 0
    for value in values:
        if value > level:
            break
        count += 1
    assert fixed_sequence(np.array(values), level) == count


@pytest.mark.parametrize("policy", ["entropy", "confidence", "patience", "learned"])
def test_sweeps_go_from_slow_to_fast(policy: str) -> None:
    """For any predictions, every example leaves no later under a later policy: the order needs no data."""
    said = simulated.outputs(np.random.default_rng(1), 400, classes=3)
    sweep = sweep_of(policy, simulated.EXITS, 3)
    result = calibrate(said, sweep, simulated.macs(400), max_drop=0.1)
    costs = [tried.cost for tried in result.tried]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) > 2
    assert [tried.policy for tried in result.tried] == sweep


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["entropy", "confidence", "patience"]))
def test_what_is_told_is_what_a_loop_counts(seed: int, name: str) -> None:
    said = simulated.outputs(np.random.default_rng(seed), 60)
    sweep = sweep_of(name, simulated.EXITS, 2)
    result = calibrate(said, sweep, simulated.macs(60), max_drop=0.05, confidence=0.8)
    answers = said.logits.argmax(axis=2)
    for tried in result.tried:
        taken = []
        for n in range(60):
            exit_index = 0
            while exit_index < simulated.EXITS - 1 and not leaves(
                said.logits[:, n], exit_index, tried.policy
            ):
                exit_index += 1
            taken.append(exit_index)
        harmed = sum(answers[-1, n] == said.labels[n] != answers[e, n] for n, e in enumerate(taken))
        helped = sum(answers[-1, n] != said.labels[n] == answers[e, n] for n, e in enumerate(taken))
        assert (tried.harmed, tried.helped) == (harmed, helped)
        assert tried.drop == pytest.approx((harmed - helped) / 60)
        assert tried.cost == pytest.approx(np.mean([e + 1 for e in taken]) / simulated.EXITS)
    shown = [tried for tried in result.tried if tried.safe]
    assert shown == result.tried[: len(shown)]
    assert all(tried.p_value <= 0.2 + 1e-12 for tried in shown)
    if len(shown) < len(result.tried):
        assert result.tried[len(shown)].p_value > 0.2
    if any(tried.cost < 1 for tried in shown):
        assert result.chosen is not None
        assert result.chosen.cost == min(tried.cost for tried in shown)
    else:
        assert result.chosen is None


def leaves(logits: np.ndarray, exit_index: int, policy: dict[str, float]) -> bool:
    """Whether one example leaves at an exit, logits ``[E, C]``."""
    if policy["name"] == "patience":
        labels = logits.argmax(axis=1)[: exit_index + 1]
        count = 0
        for before, now in pairwise(labels):
            count = count + 1 if now == before else 0
        return count >= policy["patience"]
    shares = np.exp(logits[exit_index].astype(np.float64))
    shares /= shares.sum()
    if policy["name"] == "confidence":
        return bool(shares.max() > policy["threshold"])
    return bool(-(shares * np.log(shares)).sum() < policy["threshold"])


@pytest.mark.parametrize("bound", ["auto", "binomial", "betting"])
@pytest.mark.parametrize(("size", "max_drop", "confidence"), [(300, 0.02, 0.9), (700, 0.01, 0.8)])
def test_the_promise_holds_over_many_calibrations(
    bound: str, size: int, max_drop: float, confidence: float
) -> None:
    """Predictions whose true drop is known: those of the whole population that samples are drawn from."""
    rng = np.random.default_rng(11)
    population = simulated.outputs(rng, 20_000)
    sweep = sweep_of("entropy", simulated.EXITS, 2)[::3]
    whole = calibrate(population, sweep, simulated.macs(20_000), max_drop=max_drop)
    true = {str(tried.policy): tried.drop for tried in whole.tried}
    assert min(true.values()) < max_drop < 2 * max_drop < max(true.values())
    broken, saved = 0, []
    for _ in range(SPLITS):
        rows = rng.integers(20_000, size=size)
        result = calibrate(
            simulated.part(population, rows), sweep, simulated.macs(size),
            max_drop=max_drop, confidence=confidence, bound=bound,
        )  # fmt: skip
        chosen = result.chosen
        broken += chosen is not None and true[str(chosen.policy)] > max_drop
        saved.append(0.0 if chosen is None else 1 - chosen.cost)
    assert broken <= binom.ppf(0.9999, SPLITS, 1 - confidence)
    # It is of use, too: without any saving nothing could be broken.
    assert np.mean(saved) > 0.1


def test_more_that_may_be_lost_saves_more() -> None:
    said = simulated.outputs(np.random.default_rng(5), 3000)
    sweep = sweep_of("entropy", simulated.EXITS, 2)
    costs = []
    for max_drop in (0.005, 0.01, 0.02, 0.05):
        chosen = calibrate(said, sweep, simulated.macs(3000), max_drop=max_drop).chosen
        assert chosen is not None
        assert chosen.drop < max_drop
        costs.append(chosen.cost)
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) > 2


def test_the_order_of_the_data_decides_nothing_but_chance() -> None:
    """Sorted by what leaving early does to them, the examples would lead a bettor astray."""
    said = simulated.outputs(np.random.default_rng(6), 1500)
    sweep = sweep_of("entropy", simulated.EXITS, 2)
    taken = np.tile(np.zeros(1500, np.int64), (1, 1))
    last = simulated.part(said, np.argsort(harms(said, taken)[0], kind="stable"))
    kwargs = {"max_drop": 0.02, "bound": "betting"}
    first, second = (calibrate(o, sweep, simulated.macs(1500), **kwargs).chosen for o in (said, last))
    assert first is not None
    assert second is not None
    assert abs(first.cost - second.cost) < 0.1


def test_nothing_is_safe() -> None:
    said = simulated.outputs(np.random.default_rng(7), 100)
    result = calibrate(said, sweep_of("entropy", simulated.EXITS, 2), simulated.macs(100), max_drop=0.01)
    assert result.chosen is None
    assert not any(tried.safe for tried in result.tried)


def test_what_does_not_fit_is_refused() -> None:
    said = simulated.outputs(np.random.default_rng(8), 10)
    policies = [{"name": "entropy", "threshold": [0.1]}]
    with pytest.raises(RecipeError, match="6 exits"):
        calibrate(said, policies, simulated.macs(10), max_drop=0.1)
    with pytest.raises(ValueError, match="confidence"):
        calibrate(said, sweep_of("entropy", 6, 2), simulated.macs(10), max_drop=0.1, confidence=95)


def test_a_cost_of_one_but_for_rounding_is_that_of_all_layers() -> None:
    """Means of equal costs may come out a bit below 1: nobody left early, so nothing is there to be told."""
    policies = [{"name": "entropy", "threshold": 0.0}, {"name": "entropy", "threshold": 0.1}]
    costs = np.stack([np.full(400, 1 - 2**-53), np.full(400, 0.9)])
    harmed = np.stack([np.zeros(400, dtype=np.int64), np.ones(400, dtype=np.int64)])
    found = choose(policies, harmed, costs, accuracy=0.9, max_drop=0.05, confidence=0.95)
    assert found.tried[0].cost < 1
    assert [tried.leaves_early for tried in found.tried] == [False, True]
    assert found.chosen is None
    assert "0.1" in nothing_safe(found, "validation examples", "entropy").message
