"""Clauses of the embedded review task, of a wanted polarity: plain, about the whole, negated.

Every function takes the polarity that the clause must have (``True``: positive) and works it down to the
words. So the label is true by construction, and words are drawn alike for both labels.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
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


def the(aspect: Aspect) -> str:
    """The aspect with its article."""
    return f"the {aspect.noun}"


def be(aspect: Aspect) -> str:
    """The past of "to be" that agrees with the aspect."""
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


# adjectives often, so that the single clauses alone teach all of them
_FORMS = (*("be",) * 4, *("found",) * 2, "like", "affect", "noun", "verdict", "recommend")


def _said(w: Writer, x: Aspect, good: bool) -> str:
    form = w.pick(_FORMS)
    if form == "be":
        degree = f"{w.pick(DEGREES)} " if w.chance(0.4) else ""
        verb = w.pick((be(x), be(x), "seemed", "turned out to be"))
        return f"{the(x)} {verb} {degree}{w.adjective(x, good)}"
    if form == "found":
        return f"{w.pick(('I', 'we'))} found {the(x)} {w.adjective(x, good)}"
    if form == "like":
        liked = w.pick(LIKES[True])[0] if good else w.pick(HATES)
        return f"{w.pick(('I', 'we'))} {liked} {the(x)}"
    if form == "affect":
        return f"{the(x)} {w.pick(AFFECTS[good])[0]} {w.pick(('me', 'us'))}"
    if form == "noun":
        return f"{the(x)} {be(x)} {_a(w.pick(NOUNS[good]))}"
    if form == "verdict":
        return f"{the(x)} {w.pick(VERDICTS[good])}"
    return f"I would recommend {the(x)}" if good else f"I would warn people about {the(x)}"


# Negated clauses: the words say the opposite of the clause ---------------------------------------------


def denied(w: Writer, good: bool) -> str:
    """A short negated clause about an aspect."""
    x, said = w.aspect(), not good
    form = w.pick(("be", "be", "be", "like", "affect"))
    if form == "like":
        past, base = w.pick(LIKES[said])
        return f"I {w.pick((f'did not {base}', f'never {past}'))} {the(x)}"
    if form == "affect":
        return f"{the(x)} did not {w.pick(AFFECTS[said])[1]} me"
    no = w.pick(("not", "not at all", "never", "hardly", "far from", "by no means", "anything but"))
    return f"{the(x)} {be(x)} {no} {w.adjective(x, said)}"


def denied_at_length(w: Writer, good: bool) -> str:
    """A negation that stands outside the clause it denies."""
    x, said = w.aspect(), not good
    adjective = w.adjective(x, said)
    return w.pick(
        (
            f"nobody could call {the(x)} {adjective}",
            f"few people would call {the(x)} {adjective}",
            f"I would not say that {the(x)} {be(x)} {adjective}",
            f"it is not true that {the(x)} {be(x)} {adjective}",
            f"I did not find {the(x)} {adjective}",
            f"there was nothing {adjective} about {the(x)}",
            f"{the(x)} {be(x)} neither {adjective} nor {w.adjective(x, said)}",
            f"the {w.whole.noun} was no {w.pick(NOUNS[said])}",
        )
    )


def denied_twice(w: Writer, good: bool) -> str:
    """Two negations, or a "not" that denies nothing: the words say what the clause says."""
    x = w.aspect()
    adjective = w.adjective(x, good)
    return w.pick(
        (
            f"nobody can deny that {the(x)} {be(x)} {adjective}",
            f"nobody could say that {the(x)} {be(x)} not {adjective}",
            f"it is not true that {the(x)} {be(x)} not {adjective}",
            f"I have no doubt that {the(x)} {be(x)} {adjective}",
            f"{the(x)} never failed to {w.pick(AFFECTS[good])[1]} me",
            f"{the(x)} {be(x)} not only {adjective} but also {w.adjective(x, good)}",
            f"nobody would call {the(x)} anything but {adjective}",
        )
    )


def clause(w: Writer, good: bool) -> str:
    """A clause about an aspect, one in five negated."""
    return denied(w, good) if w.chance(0.2) else plain(w, good)


def decisive(w: Writer, good: bool) -> str:
    """The clause that decides a longer sentence: half of the time about the whole."""
    return verdict(w, good) if w.chance(0.5) else clause(w, good)
