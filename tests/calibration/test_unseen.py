"""What a file may show of a model, how many examples that takes, and what earlier questions take from it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
import pytest
from scipy.stats import binom

from prunekit.calibration import (
    earlier_tries,
    examples_needed,
    nothing_safe,
    read_tries,
    record,
    store,
    told,
    tries_words,
    usable,
    warn_of_missing_classes,
)
from prunekit.calibration.card import with_policy_in_force
from prunekit.calibration.choosing import choose
from prunekit.data import TaskData
from prunekit.errors import DataError, RunError


def data(*texts: str, pair: bool = False, labels: list[int] | None = None) -> datasets.Dataset:
    columns: dict[str, list[object]] = {"text": list(texts), "label": list(labels or [0] * len(texts))}
    if pair:
        columns["text_pair"] = [f"{text}?" for text in texts]
    return datasets.Dataset.from_dict(columns)


def made_of(train: Sequence[str], validation: str, test: str, pair: bool = False) -> TaskData:
    parts = (data(*part, pair=pair) for part in (train, validation, test))
    return TaskData("mine", *parts, label_names=["a", "b"], metrics=["accuracy"])


@pytest.mark.parametrize("pair", [False, True])
def test_repeats_count_and_are_told(pair: bool, caplog: pytest.LogCaptureFixture) -> None:
    """In their order; the same text with another label is another example."""
    examples = data(*"abacba", pair=pair, labels=[0, 0, 0, 1, 1, 0])
    with caplog.at_level(logging.WARNING):
        kept, words = usable(examples, "f.tsv", None)
    assert kept.to_dict() == examples.to_dict()
    assert words.startswith("2 of the examples repeat another")
    assert words in caplog.text
    assert usable(data(*"abc", pair=pair), "f.tsv", None)[1] == ""


@pytest.mark.parametrize("pair", [False, True])
def test_what_was_trained_on_counts_and_is_told(pair: bool) -> None:
    used = made_of("abxyz", "v", "t", pair)
    examples = data(*"cadbe", pair=pair)
    kept, words = usable(examples, "f.tsv", used)
    assert kept.to_dict() == examples.to_dict()
    assert words.startswith("2 of them have texts that the model was trained on")
    assert "not if the file holds training examples" in words
    assert "1 of them has a text" in usable(data(*"acde", pair=pair), "f.tsv", used)[1]
    # Half of the distinct ones may be, more may not: a frequent text is one of them.
    assert len(usable(data(*"aaaaaaaacde", pair=pair), "f.tsv", used)[0]) == 11
    assert len(usable(data(*"abcd", pair=pair), "f.tsv", used)[0]) == 4
    with pytest.raises(DataError, match=r"3 of the 5 distinct examples of f\.tsv"):
        usable(data(*"abxcdddddddd", pair=pair), "f.tsv", used)


def test_a_promise_holds_where_texts_repeat() -> None:
    """Over many files: 5 % of what comes is one text, known from training, that leaving early gets wrong."""
    used = made_of(["ok", *(f"trained {n}" for n in range(50))], "v", "t")
    rng = np.random.default_rng(0)
    broken, draws = 0, 60
    for _ in range(draws):
        texts = ["ok" if frequent else f"text {rng.integers(10**12)}" for frequent in rng.random(500) < 0.05]
        kept, _ = usable(data(*texts), "f.tsv", used)
        lost = np.array([[text == "ok" for text in kept["text"]]], dtype=np.int64)
        found = choose(
            [{"name": "entropy", "threshold": 0.1}], lost, np.full(lost.shape, 0.5),
            accuracy=1.0, max_drop=0.01, confidence=0.95,
        )  # fmt: skip
        broken += found.chosen is not None
    assert broken / draws <= 0.05


def test_a_pair_is_another_example_than_its_half() -> None:
    other = data(*"abc", pair=True).map(lambda row: {"text_pair": "something else"})
    assert len(usable(other, "f.tsv", made_of("abc", "v", "t", pair=True))[0]) == 3


@pytest.mark.parametrize(
    ("texts", "chosen", "reported"),
    [
        ("cde", None, None),
        ("cdv", "1 of them chose", None),
        ("vw", "The same examples chose", None),
        ("ctu", None, "2 of them are test examples"),
        ("tu", None, "All of them are test examples"),
        ("cvt", "1 of them chose", "1 of them are test examples"),
    ],
)
def test_what_chose_or_is_reported_is_said(texts: str, chosen: str | None, reported: str | None) -> None:
    kept, words = usable(data(*texts), "f.tsv", made_of("ab", "vw", "tu"))
    assert len(kept) == len(texts)
    for said, sign in ((chosen, "checkpoints"), (reported, "no longer independent")):
        assert (sign in words) == (said is not None)
        assert said is None or said in words
    assert "hopeful" not in words


def test_missing_classes(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_missing_classes(np.array([0, 2, 2]), ["no", "perhaps", "yes", "both"])
    assert "the label perhaps, both:" in caplog.text
    caplog.clear()
    warn_of_missing_classes([1, 0], ["no", "yes"])
    assert not caplog.text


# How many examples it takes


def of_losses(harmed: int, examples: int, **asked: object):
    losses = np.zeros((1, examples), dtype=np.int64)
    losses[0, :harmed] = 1
    policies = [{"name": "entropy", "threshold": 0.1}]
    return choose(policies, losses, np.full((1, examples), 0.5), accuracy=0.9, **asked)  # type: ignore[arg-type]


def test_numbers_by_the_binomial_are_about_the_least_that_do() -> None:
    """Against scipy: such a share of harmed ones is shown with so many, and not with four fifths of them."""
    for harmed, examples, drop in ((1, 200, 0.02), (2, 300, 0.02), (4, 500, 0.015)):
        needed = examples_needed(harmed, 0, examples, drop, 0.95, "binomial")
        assert needed is not None
        enough, fewer = (
            binom.cdf(round(harmed * n / examples), int(n), drop) for n in (needed, 0.8 * needed)
        )
        assert enough <= 0.05 < fewer
        found = of_losses(harmed, examples, max_drop=drop, confidence=0.95, bound="binomial")
        assert found.chosen is None
        assert f"{needed:,}" in str(nothing_safe(found, "examples", "entropy", bound="binomial"))


def test_no_number_shows_what_is_not_so() -> None:
    assert examples_needed(5, 0, 100, 0.05, 0.95) is None
    assert examples_needed(5, 5, 100, 0.05, 0.95, "binomial") is None
    # Betting counts what is helped too.
    assert examples_needed(5, 5, 100, 0.05, 0.95) is not None
    found = of_losses(5, 100, max_drop=0.05, confidence=0.95)
    assert "would not show it" in str(nothing_safe(found, "examples", "entropy"))


def test_the_other_bound_where_it_would_do() -> None:
    """400 examples without harm: 0.99^400 = 0.018 is below 5 %, and what betting wins is not."""
    asked = {"max_drop": 0.01, "confidence": 0.95}
    found, other = (of_losses(0, 400, bound=bound, **asked) for bound in ("betting", "binomial"))
    assert found.chosen is None and other.chosen is not None
    said = nothing_safe(found, "examples", "entropy", bound="betting", other=other)
    assert "--bound binomial" in str(said.mend)
    neither = nothing_safe(found, "examples", "entropy", bound="betting", other=found)
    assert "--bound" not in str(neither)


def test_nobody_leaves() -> None:
    found = choose(
        [{"name": "entropy", "threshold": 0.1}], np.zeros((1, 500), dtype=np.int64), np.ones((1, 500)),
        accuracy=0.9, max_drop=0.02, confidence=0.95,
    )  # fmt: skip
    assert found.chosen is None
    assert "lets any of 500 examples leave" in nothing_safe(found, "examples", "entropy").message


# Earlier questions


def answer(digest: str = "one", **asked: float):
    settings = {"max_drop": 0.02, "confidence": 0.95} | asked
    return told(of_losses(0, 400, bound="binomial", **settings), f"examples of {digest}", digest=digest)


def test_other_questions_are_counted(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    first, second, third = answer(), answer(max_drop=0.03), answer("two", confidence=0.9)
    asked = []
    for one in (first, first, second, third, second, first):
        earlier = earlier_tries(read_tries(tmp_path), one)
        asked.append(len(earlier))
        record(tmp_path, earlier, one)
    assert asked == [0, 0, 1, 2, 2, 2]
    kept = json.loads((tmp_path / "calibrations.json").read_text())
    assert {(one["max_drop"], one["digest"]) for one in kept} == {(0.02, "one"), (0.03, "one"), (0.02, "two")}


def test_the_answer_of_a_recipe_is_one(tmp_path: Path) -> None:
    """A stage stores it in the configuration alone; once it is in the file as well, it is still one."""
    (tmp_path / "config.json").write_text("{}")
    store(tmp_path, answer())
    assert earlier_tries(read_tries(tmp_path), answer()) == []
    earlier = earlier_tries(read_tries(tmp_path), answer("two"))
    assert [one["digest"] for one in earlier] == ["one"]
    record(tmp_path, earlier, answer("two"))
    assert [one["digest"] for one in earlier_tries(read_tries(tmp_path), answer("two"))] == ["one"]


@pytest.mark.parametrize("junk", ["{", "{}", "[1, {}]", "", b"\xff"])
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, junk: str | bytes) -> None:
    """Taken as none, it would promise more than is so."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "calibrations.json").write_bytes(junk if isinstance(junk, bytes) else junk.encode())
    with pytest.raises(RunError, match=r"calibrations\.json cannot be read"):
        read_tries(tmp_path)


@pytest.mark.parametrize(
    ("before", "words"),
    [([], None), ([0.95], "90 %"), ([0.95, 0.95], "85 %"), ([0.9, 0.99], "84 %"), ([0.5, 0.5], "not sure")],
)
def test_together_they_are_less_sure(before: list[float], words: str | None) -> None:
    said = tries_words([{"confidence": one} for one in before], 0.95)
    assert said == "" if words is None else words in said


def test_the_best_of_several_answers_is_no_surer() -> None:
    """Simulated: three answers at 80 %, each about other examples, of a policy that loses just too much."""
    rng = np.random.default_rng(0)
    wrong, draws = 0, 400
    for _ in range(draws):
        kept = [
            of_losses(
                int(rng.binomial(300, 0.05)), 300, max_drop=0.05, confidence=0.8, bound="binomial"
            ).chosen
            for _ in range(3)
        ]
        wrong += any(one is not None for one in kept)
    # More than one answer may be; less than the sum that is told.
    assert 0.2 < wrong / draws < 0.6
    assert "40 %" in tries_words([{"confidence": 0.8}] * 2, 0.8)


# The card

HEADS = ["---\na: b\n---\n\n# Name\n\n", "# Name\n\n", "---\na: b\n---\n", ""]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("rest", ["**36x.**\n\n## Use\n\n```sh\n# a comment\n```\n", ""])
def test_the_policy_in_force_comes_first(head: str, rest: str) -> None:
    """Behind front matter and title, once, and the rest is untouched however often it is put there."""
    once = with_policy_in_force(head + rest, answer())
    twice = with_policy_in_force(once, answer(max_drop=0.03))
    assert once.startswith(head.rstrip("\n"))
    notice = once[len(head) :].lstrip("\n").splitlines()[:3]
    assert notice[0] == "<!-- policy in force -->"
    assert "The policy now in force is entropy 0.1" in notice[1] and "2 points" in notice[1]
    assert "3 points" in twice and "2 points" not in twice
    assert twice.replace("3 points", "2 points") == once
    assert once.replace("\n".join(notice), "").split() == (head + rest).split()


def test_stored_at_the_top_of_the_card(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "README.md").write_text("# Name\n\n**36x by entropy 0.5.**\n\n## Use\n")
    store(tmp_path, answer())
    card = (tmp_path / "README.md").read_text()
    assert card.index("now in force is entropy 0.1") < card.index("36x by") < card.index("## Guarantee")
    assert "below are of the policy before" in card
