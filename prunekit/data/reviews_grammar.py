"""The grammar of the embedded review task: sentences of a wanted polarity, by kind of difficulty.

Every function takes the polarity that the sentence must have (``True``: positive) and works it down to
the words. So the label is true by construction, and words are drawn alike for both labels.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from .reviews_words import (
    ADJECTIVES,
    AFFECTS,
    DEGREES,
    DOMAINS,
    GENERIC,
    HATES,
    LIKES,
    NOUNS,
    OPENERS,
    PEOPLE,
    VERDICTS,
    Aspect,
)

T = TypeVar("T")


class Writer:
    """Draws the words of one sentence; no aspect and no adjective comes twice."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.domain = self.pick(DOMAINS)
        self.whole = Aspect(self.pick(self.domain.wholes), "whole")
        self._used: set[str] = set()

    def pick(self, items: Sequence[T]) -> T:
        """One item, each as likely. Of ``Random`` only ``random()`` is the same in every Python version."""
        return items[int(self.rng.random() * len(items))]

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.rng.random() < probability

    def fresh(self, items: Sequence[str]) -> str:
        """A word that this sentence does not have yet."""
        word = self.pick([item for item in items if item not in self._used])
        self._used.add(word)
        return word

    def aspect(self) -> Aspect:
        """An aspect that this sentence does not have yet."""
        noun = self.fresh([aspect.noun for aspect in self.domain.aspects])
        return next(aspect for aspect in self.domain.aspects if aspect.noun == noun)

    def adjective(self, aspect: Aspect, good: bool) -> str:
        """An adjective for the aspect; one in four is a general one."""
        general = aspect.kind != "whole" and self.chance(0.25)
        return self.fresh(GENERIC[good] if general else ADJECTIVES[aspect.kind][good])


Template = Callable[[Writer, bool], str]


def _the(aspect: Aspect) -> str:
    return f"the {aspect.noun}"


def _be(aspect: Aspect) -> str:
    return "were" if aspect.plural else "was"


def _a(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


# Plain clauses -----------------------------------------------------------------------------------------


def plain(w: Writer, good: bool) -> str:
    """One clause about an aspect, said outright."""
    return _said(w, w.aspect(), good)


def verdict(w: Writer, good: bool) -> str:
    """One clause about the whole, said outright."""
    return _said(w, w.whole, good)


def _said(w: Writer, x: Aspect, good: bool) -> str:
    form = w.pick(("be", "be", "be", "found", "like", "affect", "noun", "verdict", "recommend"))
    if form == "be":
        degree = f"{w.pick(DEGREES)} " if w.chance(0.4) else ""
        verb = w.pick((_be(x), _be(x), "seemed", "turned out to be"))
        return f"{_the(x)} {verb} {degree}{w.adjective(x, good)}"
    if form == "found":
        return f"{w.pick(('I', 'we'))} found {_the(x)} {w.adjective(x, good)}"
    if form == "like":
        liked = w.pick(LIKES[True])[0] if good else w.pick(HATES)
        return f"{w.pick(('I', 'we'))} {liked} {_the(x)}"
    if form == "affect":
        return f"{_the(x)} {w.pick(AFFECTS[good])[0]} {w.pick(('me', 'us'))}"
    if form == "noun":
        return f"{_the(x)} {_be(x)} {_a(w.pick(NOUNS[good]))}"
    if form == "verdict":
        return f"{_the(x)} {w.pick(VERDICTS[good])}"
    return f"I would recommend {_the(x)}" if good else f"I would warn people about {_the(x)}"


# Negated clauses: the words say the opposite of the clause ---------------------------------------------


def denied(w: Writer, good: bool) -> str:
    """A short negated clause about an aspect."""
    x, said = w.aspect(), not good
    form = w.pick(("be", "be", "be", "like", "affect"))
    if form == "like":
        past, base = w.pick(LIKES[said])
        return f"I {w.pick((f'did not {base}', f'never {past}'))} {_the(x)}"
    if form == "affect":
        return f"{_the(x)} did not {w.pick(AFFECTS[said])[1]} me"
    no = w.pick(("not", "not at all", "never", "hardly", "far from", "by no means", "anything but"))
    return f"{_the(x)} {_be(x)} {no} {w.adjective(x, said)}"


def _denied_at_length(w: Writer, good: bool) -> str:
    """A negation that stands outside the clause it denies."""
    x, said = w.aspect(), not good
    adjective = w.adjective(x, said)
    return w.pick(
        (
            f"nobody could call {_the(x)} {adjective}",
            f"few people would call {_the(x)} {adjective}",
            f"I would not say that {_the(x)} {_be(x)} {adjective}",
            f"it is not true that {_the(x)} {_be(x)} {adjective}",
            f"I did not find {_the(x)} {adjective}",
            f"there was nothing {adjective} about {_the(x)}",
            f"{_the(x)} {_be(x)} neither {adjective} nor {w.adjective(x, said)}",
            f"the {w.whole.noun} was no {w.pick(NOUNS[said])}",
        )
    )


def _denied_twice(w: Writer, good: bool) -> str:
    """Two negations, or a "not" that denies nothing: the words say what the clause says."""
    x = w.aspect()
    adjective = w.adjective(x, good)
    return w.pick(
        (
            f"nobody can deny that {_the(x)} {_be(x)} {adjective}",
            f"nobody could say that {_the(x)} {_be(x)} not {adjective}",
            f"it is not true that {_the(x)} {_be(x)} not {adjective}",
            f"I have no doubt that {_the(x)} {_be(x)} {adjective}",
            f"{_the(x)} never failed to {w.pick(AFFECTS[good])[1]} me",
            f"{_the(x)} {_be(x)} not only {adjective} but also {w.adjective(x, good)}",
            f"nobody would call {_the(x)} anything but {adjective}",
        )
    )


def clause(w: Writer, good: bool) -> str:
    """A clause about an aspect, one in three negated."""
    return denied(w, good) if w.chance(1 / 3) else plain(w, good)


def _decisive(w: Writer, good: bool) -> str:
    """The clause that decides a longer sentence: half of the time about the whole."""
    return verdict(w, good) if w.chance(0.5) else clause(w, good)


# Kinds of difficulty -----------------------------------------------------------------------------------


def single(w: Writer, good: bool) -> str:
    """One clause, no negation."""
    text = verdict(w, good) if w.chance(0.3) else plain(w, good)
    return f"{w.pick(OPENERS)}, {text}" if w.chance(0.4) else text


def negation(w: Writer, good: bool) -> str:
    """One clause under one or two negations."""
    form = w.pick((denied, _denied_at_length, _denied_twice))
    text = form(w, good)
    return f"{w.pick(OPENERS)}, {text}" if w.chance(0.2) else text


def contrast(w: Writer, good: bool) -> str:
    """Two clauses of opposite polarity: the one after "but", the one without "although" decides."""
    against, decides = clause(w, not good), _decisive(w, good)
    return w.pick(
        (
            f"{against}, but {decides}",
            f"{against}, yet {decides}",
            f"{against}. However, {decides}",
            f"although {against}, {decides}",
            f"while {against}, {decides}",
            f"{decides}, although {against}",
            f"{decides}, even though {against}",
            f"{decides}, though {against}",
        )
    )


def concession(w: Writer, good: bool) -> str:
    """Several concessions, or one inside another: the main clause decides."""
    return w.pick((_two_concessions, _despite, _although_then_but, _relative, _parenthesis))(w, good)


def _two_concessions(w: Writer, good: bool) -> str:
    first, second, main = clause(w, not good), clause(w, not good), _decisive(w, good)
    return w.pick(
        (
            f"although {first} and {second}, {main}",
            f"even though {first} and even though {second}, {main}",
            f"{main}, even though {first} and {second}",
            f"{main}, although {first}, and even though {second}",
        )
    )


def _despite(w: Writer, good: bool) -> str:
    x, y = w.aspect(), w.aspect()
    adjective, other = w.adjective(x, not good), w.adjective(y, not good)
    despite = w.pick(("despite", "in spite of"))
    things = f"{despite} the {adjective} {x.noun} and the {other} {y.noun}"
    main = _decisive(w, good)
    which = f"{despite} {_the(x)}, {'whom' if x.is_person else 'which'} I found {adjective}"
    return w.pick((f"{things}, {main}", f"{main} {things}", f"{which}, {main}"))


def _although_then_but(w: Writer, good: bool) -> str:
    first, second, main = clause(w, good), clause(w, not good), _decisive(w, good)
    return w.pick(
        (
            f"although {first}, {second}, but in the end {main}",
            f"{second}, although {first}, but in the end {main}",
            f"{second}, but {main}, although {clause(w, not good)}",
        )
    )


def _relative(w: Writer, good: bool) -> str:
    x = w.aspect()
    at_first, later = w.adjective(x, good), w.adjective(x, not good)
    who = "who" if x.is_person else "which"
    had = f"{_the(x)}, {who} had seemed {at_first} at first, turned out to be {later}"
    main = _decisive(w, good)
    return w.pick((f"although {had}, {main}", f"{main}, even though {had}", f"{had}, but {main}"))


def _parenthesis(w: Writer, good: bool) -> str:
    x = w.whole
    first, second = w.adjective(x, not good), w.adjective(x, not good)
    aside = w.pick(
        (
            f"although {first} and {second}",
            f"{first} and {second} as it was",
            f"though never {w.adjective(x, good)}",
        )
    )
    return f"{_the(x)}, {aside}, {w.pick(VERDICTS[good])}"


def distractor(w: Writer, good: bool) -> str:
    """Words that judge, but not here and now, or not in the writer's name; and words that do not judge."""
    return w.pick(
        (_other_voice, _right_or_wrong, _then_and_now, _other_thing, _expectation, _had_it_been, _facts)
    )(w, good)


def _other_voice(w: Writer, good: bool) -> str:
    x = w.aspect()
    who, _ = w.pick(PEOPLE)
    theirs, mine = w.adjective(x, not good), w.adjective(x, good)
    return w.pick(
        (
            f"{who} called {_the(x)} {theirs}, yet I found {x.object} {mine}",
            f"{who} said that {_the(x)} {_be(x)} {theirs}, but to me {x.subject} seemed {mine}",
            f"I found {_the(x)} {mine}, though {who} called {x.object} {theirs}",
        )
    )


def _right_or_wrong(w: Writer, good: bool) -> str:
    x = w.aspect()
    who, they = w.pick(PEOPLE)
    were = "were" if they == "they" else "was"
    agree = w.chance(0.5)
    said = w.adjective(x, good if agree else not good)
    answers = (
        (f"but {they} {were} wrong", "but I disagree", "which is not true"),
        (f"and {they} {were} right", "and I agree", "which is true"),
    )
    return f"{who} {w.pick(('told me', 'said'))} that {_the(x)} {_be(x)} {said}, {w.pick(answers[agree])}"


def _then_and_now(w: Writer, good: bool) -> str:
    x = w.aspect()
    are = "are" if x.plural else "is"
    now, then = w.adjective(x, good), w.adjective(x, not good)
    return w.pick(
        (
            f"{_the(x)} used to be {then}, but now {x.subject} {are} {now}",
            f"last year {_the(x)} {_be(x)} {then}, this year {x.subject} {_be(x)} {now}",
            f"{_the(x)} {_be(x)} {now} this time, while last year {x.subject} {_be(x)} {then}",
            f"{_the(x)} used to be {now}, and {x.subject} still {are}",
            f"{_the(x)} used to be {then}, but {x.subject} no longer {are}",
        )
    )


def _other_thing(w: Writer, good: bool) -> str:
    other, x = w.pick(w.domain.others), w.whole
    theirs, mine = w.adjective(x, not good), w.adjective(x, good)
    return w.pick(
        (
            f"unlike the {other}, which was {theirs}, {_the(x)} was {mine}",
            f"{_the(x)} was {mine}, unlike the {other}, which was {theirs}",
            f"the {other} was {theirs}, and {_the(x)} was the opposite",
            f"the {other} was {mine}, and so was {_the(x)}",
        )
    )


def _expectation(w: Writer, good: bool) -> str:
    x = w.aspect()
    met = w.chance(0.5)
    adjective = w.adjective(x, good if met else not good)
    expected = w.pick(
        (f"I expected {_the(x)} to be {adjective}", f"I thought that {_the(x)} would be {adjective}")
    )
    ends = (
        ("but I was wrong", f"but {x.subject} {_be(x)} not"),
        ("and I was right", f"and {x.subject} {_be(x)}"),
    )
    return f"{expected}, {w.pick(ends[met])}"


def _had_it_been(w: Writer, good: bool) -> str:
    x = w.aspect()
    unreal, outcome = w.adjective(x, not good), w.pick(_OUTCOMES[not good])
    return w.pick(
        (
            f"if {_the(x)} had been {unreal}, I would have {outcome} the {w.whole.noun}",
            f"I would have {outcome} the {w.whole.noun} if {_the(x)} had been {unreal}",
        )
    )


_OUTCOMES = (("disliked", "hated", "detested"), ("enjoyed", "liked", "loved"))


def _facts(w: Writer, good: bool) -> str:
    fact = w.pick(w.domain.facts).format(w.whole.noun)
    main = _decisive(w, good)
    return w.pick((f"{fact}, and {main}", f"{main}, and {fact}", f"{fact}. {main}"))


KINDS: dict[str, Template] = {
    "single": single,
    "negation": negation,
    "contrast": contrast,
    "concession": concession,
    "distractor": distractor,
}
