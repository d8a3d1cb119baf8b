"""Exit policies against plain loops over examples, in plain Python."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunekit.errors import RecipeError
from prunekit.exits import ExitPolicy, entropy
from prunekit.exits.policies import registry, sweeps_of

NAMES = ["entropy", "confidence", "patience", "learned"]


@st.composite
def said(draw, classes=None):
    """Logits [E, N, C] and certainty [E, N]; in half of the draws few values, so that many are equal."""
    exits, examples = draw(st.integers(1, 7)), draw(st.integers(1, 20))
    classes = classes or draw(st.integers(2, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    if draw(st.booleans()):
        logits = torch.randint(-2, 3, (exits, examples, classes), generator=generator).float()
        return logits, torch.randint(0, 5, (exits, examples), generator=generator) / 4
    logits = 3 * torch.randn(exits, examples, classes, generator=generator)
    return logits, torch.rand(exits, examples, generator=generator)


def loop(logits, decide):
    """Every example by itself, from exit to exit; at the last one all leave."""
    exits, examples = logits.shape[:2]
    taken = []
    for row in range(examples):
        index = 0
        while index < exits - 1 and not decide(row, index):
            index += 1
        taken.append(index)
    return taken


def shares(row):
    weights = [math.exp(x - max(row)) for x in row]
    return [w / sum(weights) for w in weights]


def measure(name, logits, certainty):
    """What a threshold is compared with, at every exit and for every example: [E][N] numbers."""
    rows = logits.double().tolist()
    if name == "learned":
        return certainty.tolist()
    if name == "entropy":
        return [[-sum(p * math.log(p) for p in shares(row) if p > 0) for row in at] for at in rows]
    return [[max(shares(row)) for row in at] for at in rows]


def by_threshold(name, logits, certainty, threshold):
    values = measure(name, logits, certainty)

    def decide(row, index):
        value = values[index][row]
        return value < threshold[index] if name == "entropy" else value > threshold[index]

    return loop(logits, decide)


def between(values, bottom, top):
    """A threshold in every gap between the values, and below and above all."""
    ordered = sorted({round(v, 4) for v in values})
    gaps = [(a + b) / 2 for a, b in pairwise(ordered) if b - a > 1e-3]
    return [bottom, *gaps, top]


@pytest.mark.parametrize("name", ["entropy", "confidence", "learned"])
@settings(max_examples=40, deadline=None)
@given(said=said())
def test_every_threshold_sends_examples_as_a_plain_loop(name, said):
    logits, certainty = said
    every = [v for at in measure(name, logits, certainty) for v in at]
    for threshold in between(every, -0.1, 2.0):
        policy = registry.build({"name": name, "threshold": threshold})
        taken = policy.exits(logits, certainty)
        assert taken.dtype == torch.int64
        assert taken.tolist() == by_threshold(name, logits, certainty, [threshold] * len(logits))


@pytest.mark.parametrize("name", ["entropy", "confidence", "learned"])
@settings(max_examples=40, deadline=None)
@given(said=said(), thresholds=st.lists(st.floats(0, 1.4), min_size=7, max_size=7))
def test_a_threshold_for_every_exit(name, said, thresholds):
    logits, certainty = said
    values = measure(name, logits, certainty)
    if any(abs(v - t) < 1e-4 for at, t in zip(values, thresholds, strict=False) for v in at):
        return  # rounding decides, here and there differently
    taken = registry.build({"name": name, "threshold": thresholds}).exits(logits, certainty)
    assert taken.tolist() == by_threshold(name, logits, certainty, thresholds)


TIES = [
    # What each exit says, a threshold that this equals to the bit, and one that it is past.
    ("confidence", [0.0, 0.0], None, 0.5, 0.499),
    ("confidence", [2.0, 2.0, 2.0, 2.0], None, 0.25, 0.249),
    ("confidence", [200.0, 0.0], None, 1.0, 0.999),
    ("entropy", [200.0, 0.0], None, 0.0, 0.001),
    ("learned", [0.0, 0.0], 0.75, 0.75, 0.749),
    ("learned", [0.0, 0.0], 1.0, 1.0, 0.999),
]


@pytest.mark.parametrize(("name", "logits", "certainty", "equal", "past"), TIES)
def test_what_equals_the_threshold_stays(name, logits, certainty, equal, past):
    said = torch.tensor([logits, logits])[:, None]
    certain = None if certainty is None else torch.full((2, 1), certainty)
    for threshold, leaves_at in ((equal, 1), (past, 0), ([equal], 1), ([past], 0)):
        policy = registry.build({"name": name, "threshold": threshold})
        assert policy.exits(said, certain).tolist() == [leaves_at]


@settings(max_examples=100, deadline=None)
@given(said=said(), patience=st.integers(1, 8))
def test_patience_counts_as_in_its_paper(said, patience):
    logits, _ = said
    labels = [[row.index(max(row)) for row in at] for at in logits.tolist()]
    assert registry.build({"name": "patience", "patience": patience}).exits(logits).tolist() == counted(
        logits, lambda a, b, row: labels[a][row] == labels[b][row], patience
    )


@settings(max_examples=100, deadline=None)
@given(said=said(classes=1), patience=st.integers(1, 8), margin=st.sampled_from([0.3, 0.5, 1.0, 1.5, 2.0]))
def test_patience_of_a_regression(said, patience, margin):
    """Where outputs are whole numbers, many differ by exactly the margin: that is no agreement."""
    values = said[0][..., 0].tolist()
    policy = registry.build({"name": "patience", "patience": patience, "margin": margin})
    assert policy.exits(said[0]).tolist() == counted(
        said[0], lambda a, b, row: abs(values[b][row] - values[a][row]) < margin, patience
    )


@pytest.mark.parametrize(
    ("outputs", "margin", "leaves_at"),
    [
        ([3.0, 3.5, 3.75], 0.5, 2),  # the first two differ by the margin, and not by less
        ([3.5, 3.0, 2.75], 0.5, 2),
        ([3.0, 3.5, 3.75], 0.75, 1),
        ([-1.0, 1.0, 1.0, 1.0], 2.0, 2),
        ([-1.0, 1.0, 3.0, 5.0], 2.0, 3),  # never: the last exit answers
    ],
)
def test_outputs_that_differ_by_the_margin_do_not_agree(outputs, margin, leaves_at):
    policy = registry.build({"name": "patience", "patience": 1, "margin": margin})
    assert policy.exits(torch.tensor(outputs)[:, None, None]).tolist() == [leaves_at]


def counted(logits, agree, patience):
    """PABEE: a counter that grows with every exit that agrees with the one before, and else begins anew."""
    exits, examples = logits.shape[:2]
    taken = []
    for row in range(examples):
        counter = 0
        for index in range(exits):
            counter = counter + 1 if index and agree(index - 1, index, row) else 0
            if counter == patience or index == exits - 1:
                taken.append(index)
                break
    return taken


def labelled(*labels):
    """Logits of one example whose exits predict these labels: [E, 1, 3]."""
    return torch.nn.functional.one_hot(torch.tensor(labels), 3).float()[:, None]


@pytest.mark.parametrize(
    ("labels", "patience", "leaves_at"),
    [
        ([0, 0, 1, 1, 1, 1], 1, 1),  # two exits that agree
        ([0, 0, 1, 1, 1, 1], 2, 4),  # the counter returns to 0 at the third exit
        ([0, 1, 1, 2, 2, 2], 2, 5),
        ([1, 1, 1, 1, 1, 1], 5, 5),  # patience p takes p + 1 exits: of six, the last
        ([1, 1, 1, 1, 1, 1], 9, 5),
        ([0, 1, 0, 1, 0, 1], 1, 5),  # never: the last exit answers
        ([2], 1, 0),
    ],
)
def test_patience_step_by_step(labels, patience, leaves_at):
    policy = registry.build({"name": "patience", "patience": patience})
    assert policy.exits(labelled(*labels)).tolist() == [leaves_at]


def test_of_equal_logits_the_first_class_is_the_label():
    logits = torch.tensor([[[1.0, 1.0, 0.0]], [[2.0, 0.0, 2.0]], [[0.0, 3.0, 3.0]], [[0.0, 1.0, 0.0]]])
    assert registry.build({"name": "patience", "patience": 1}).exits(logits).tolist() == [1]
    assert registry.build({"name": "patience", "patience": 1}).exits(logits[1:]).tolist() == [2]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(said=said())
def test_a_sweep_goes_from_slow_to_fast(name, said):
    """Every later policy lets every example leave as early or earlier; the first lets nobody leave."""
    logits, certainty = said
    exits, _, classes = logits.shape
    sweep = [{"name": name, **arguments} for arguments in registry.get(name).sweep(exits, classes)]
    taken = [registry.build(policy).exits(logits, certainty).tolist() for policy in sweep]
    assert sweep == [dict(items) for items in dict.fromkeys(tuple(policy.items()) for policy in sweep)]
    if not sweep:
        assert (name, exits) == ("patience", 1)
        return
    assert set(taken[0]) == {exits - 1}
    for slow, fast in pairwise(taken):
        assert all(later >= sooner for later, sooner in zip(slow, fast, strict=True))


@pytest.mark.parametrize("name", ["entropy", "confidence", "learned"])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_a_sweep_ends_where_all_leave_at_once(name, classes):
    logits = torch.randn(4, 50, classes, generator=torch.Generator().manual_seed(1)) * 4
    certainty = torch.rand(4, 50, generator=torch.Generator().manual_seed(1))
    last = registry.get(name).sweep(4, classes)[-1]
    assert set(registry.build({"name": name, **last}).exits(logits, certainty).tolist()) == {0}


@pytest.mark.parametrize("name", ["entropy", "confidence"])
@pytest.mark.parametrize("classes", range(2, 21))
@pytest.mark.parametrize("scale", [0, 1e-4, 1e-3, 3e-3])
def test_a_sweep_ends_where_even_those_leave_that_cannot_tell(name, classes, scale):
    logits = torch.randn(4, 50, classes, generator=torch.Generator().manual_seed(1)) * scale
    last = registry.get(name).sweep(4, classes)[-1]
    assert set(registry.build({"name": name, **last}).exits(logits).tolist()) == {0}


def test_a_policy_of_ones_own_is_tried_as_it_is():
    class Never(ExitPolicy):
        def leaves(self, history, exit_index):
            return torch.zeros(history.shape[1], dtype=torch.bool)

    assert Never.sweep(5, 2) == [{}]
    logits, certainty = torch.randn(5, 3, 2), torch.rand(5, 3)
    assert Never().exits(logits).tolist() == Never().exits(logits, certainty).tolist() == [4, 4, 4]


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="learn_to_exit"):
        registry.build("learned").exits(torch.zeros(2, 3, 2))
    with pytest.raises(ValueError, match="needs a margin"):
        registry.build("patience").exits(torch.zeros(2, 3, 1))
    with pytest.raises(ValueError, match="above 0"):
        registry.build({"name": "patience", "margin": 0})
    with pytest.raises(ValueError, match="at least 1"):
        registry.build({"name": "patience", "patience": 0})
    with pytest.raises(RecipeError, match="no argument 'threshold'"):
        registry.build({"name": "patience", "threshold": 0.1})


@pytest.mark.parametrize("scale", [1, 1e2, 1e4, 1e30])
def test_entropy_of_certain_predictions_is_finite(scale):
    values = entropy(torch.tensor([[scale, -scale], [scale, scale]]))
    assert torch.isfinite(values).all()
    assert values[1] == pytest.approx(math.log(2))
    assert 0 <= values[0] < 0.4


def test_threshold_zero_leaves_nobody_early():
    logits = torch.tensor([[[1e4, -1e4]], [[0.0, 0.0]]])
    assert registry.build({"name": "entropy", "threshold": 0.0}).exits(logits).tolist() == [1]


class Always(ExitPolicy):
    """A policy of one's own, which lets everybody leave at once."""

    needs_certainty = True

    def leaves(self, history, exit_index, certainty):
        return torch.ones(history.shape[1], dtype=torch.bool)


@pytest.mark.parametrize("spec", [*NAMES, {"name": "patience", "patience": 1}, Always()])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@settings(max_examples=25, deadline=None)
@given(said=said(), seed=st.integers(0, 999), part=st.booleans())
def test_nobody_leaves_with_an_answer_that_is_none(spec, value, said, seed, part):
    """Some examples get such logits, at every exit or at some; the others leave where they did before."""
    logits, certainty = said
    exits, examples, classes = logits.shape
    generator = torch.Generator().manual_seed(seed)
    hit = torch.rand(exits, examples, generator=generator) < 0.4
    if not part:
        hit = hit[:1].expand(exits, -1)
    broken = logits.clone()
    broken[hit] = torch.where(torch.rand(classes, generator=generator) < 0.5, value, broken[hit])
    hit = ~broken.isfinite().all(dim=-1)
    policy = registry.build(spec)
    taken, before = policy.exits(broken, certainty), policy.exits(logits, certainty)
    early = taken < exits - 1
    assert not bool(hit[taken, torch.arange(examples)][early].any())
    untouched = ~hit.any(dim=0)
    assert torch.equal(taken[untouched], before[untouched])


def test_patience_counts_no_answer_that_is_none():
    """NaN ranks first for argmax, so that three of them would seem to agree."""
    logits = torch.full((4, 1, 2), math.nan)
    logits[3] = torch.tensor([0.0, 1.0])
    policy = registry.build({"name": "patience", "patience": 1})
    assert policy.exits(logits).tolist() == [3]
    assert policy.leaves(logits[:3], 2).tolist() == [False]
    assert policy.leaves(logits, 3).tolist() == [False]


WRONG = st.sampled_from(["a", "0.5", None, {}, {"a": 1}, True, math.nan, math.inf, -math.inf])


@pytest.mark.parametrize("name", ["entropy", "confidence", "learned"])
@given(value=WRONG, others=st.lists(st.floats(0, 1), max_size=3), place=st.integers(0, 3))
def test_thresholds_that_are_none(name, value, others, place):
    place = min(place, len(others))
    several = [*others[:place], value, *others[place:]]
    for threshold, at in ((value, ""), (several, rf"\[{place}\]"), (tuple(several), rf"\[{place}\]")):
        with pytest.raises(RecipeError, match=rf"{name}\.threshold{at}: .* is not a finite number"):
            registry.build({"name": name, "threshold": threshold})
    with pytest.raises(RecipeError, match=rf"{name}\.threshold: the list is empty"):
        registry.build({"name": name, "threshold": []})


@pytest.mark.parametrize(
    ("key", "value"),
    [("patience", v) for v in ("abc", 1.5, 2.0, True, None, 0, -1, math.nan, [1], {})]
    + [("margin", v) for v in ("abc", True, 0, -1, math.nan, math.inf, [1], {})],
)
def test_patience_of_a_wrong_type(key, value):
    with pytest.raises(RecipeError, match=rf"patience\.{key}: "):
        registry.build({"name": "patience", key: value})


def test_lists_of_thresholds_of_a_wrong_length():
    policy = registry.build({"name": "entropy", "threshold": [0.1, 0.2]})
    for exits in (3, 2):
        policy.check(exits)
    for exits in (1, 4, 12):
        with pytest.raises(RecipeError, match=rf"entropy\.threshold: the list has 2 .* {exits} exits"):
            policy.check(exits)
    with pytest.raises(RecipeError, match=r"entropy\.threshold: the list has 2 thresholds, none for exit 3"):
        policy.exits(torch.zeros(4, 1, 2))


def test_a_name_stands_for_its_sweep_and_a_mapping_for_itself():
    one = {"name": "entropy", "threshold": 0.2}
    assert sweeps_of(["patience", one, {"name": "confidence"}], 4, 2) == [
        {"name": "patience", "patience": 3},
        {"name": "patience", "patience": 2},
        {"name": "patience", "patience": 1},
        one,
        {"name": "confidence"},
    ]
