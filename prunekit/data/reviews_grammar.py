"""Sentences of the embedded review task, by kind of difficulty; :mod:`.reviews` states the rules."""

from __future__ import annotations

from collections.abc import Callable

from .reviews_clauses import (
    Writer,
    be,
    clause,
    decisive,
    denied,
    denied_at_length,
    denied_twice,
    plain,
    the,
    verdict,
)
from .reviews_words import OPENERS, PEOPLE, VERDICTS

Template = Callable[[Writer, bool], str]


def single(w: Writer, good: bool) -> str:
    """One clause, no negation."""
    text = verdict(w, good) if w.chance(0.3) else plain(w, good)
    return f"{w.pick(OPENERS)}, {text}" if w.chance(0.4) else text


def negation(w: Writer, good: bool) -> str:
    """One clause under one or two negations."""
    form = w.pick((denied, denied_at_length, denied_twice, denied_twice))
    text = form(w, good)
    return f"{w.pick(OPENERS)}, {text}" if w.chance(0.2) else text


def contrast(w: Writer, good: bool) -> str:
    """Two clauses of opposite polarity: the one after "but", the one without "although" decides."""
    against, decides = clause(w, not good), decisive(w, good)
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
    first, second, main = clause(w, not good), denied(w, not good), decisive(w, good)
    if w.chance(0.5):
        first, second = second, first
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
    main = decisive(w, good)
    which = f"{despite} {the(x)}, {'whom' if x.is_person else 'which'} I found {adjective}"
    return w.pick((f"{things}, {main}", f"{main} {things}", f"{which}, {main}"))


def _although_then_but(w: Writer, good: bool) -> str:
    first, second, main = clause(w, good), clause(w, not good), decisive(w, good)
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
    had = f"{the(x)}, {who} had seemed {at_first} at first, turned out to be {later}"
    main = decisive(w, good)
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
    return f"{the(x)}, {aside}, {w.pick(VERDICTS[good])}"


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
            f"{who} called {the(x)} {theirs}, yet I found {x.object} {mine}",
            f"{who} said that {the(x)} {be(x)} {theirs}, but to me {x.subject} seemed {mine}",
            f"I found {the(x)} {mine}, though {who} called {x.object} {theirs}",
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
    return f"{who} {w.pick(('told me', 'said'))} that {the(x)} {be(x)} {said}, {w.pick(answers[agree])}"


def _then_and_now(w: Writer, good: bool) -> str:
    x = w.aspect()
    are = "are" if x.plural else "is"
    now, then = w.adjective(x, good), w.adjective(x, not good)
    return w.pick(
        (
            f"{the(x)} used to be {then}, but now {x.subject} {are} {now}",
            f"last year {the(x)} {be(x)} {then}, this year {x.subject} {be(x)} {now}",
            f"{the(x)} {be(x)} {now} this time, while last year {x.subject} {be(x)} {then}",
            f"{the(x)} used to be {now}, and {x.subject} still {are}",
            f"{the(x)} used to be {then}, but {x.subject} no longer {are}",
        )
    )


def _other_thing(w: Writer, good: bool) -> str:
    other, x = w.pick(w.domain.others), w.whole
    theirs, mine = w.adjective(x, not good), w.adjective(x, good)
    return w.pick(
        (
            f"unlike the {other}, which was {theirs}, {the(x)} was {mine}",
            f"{the(x)} was {mine}, unlike the {other}, which was {theirs}",
            f"the {other} was {theirs}, and {the(x)} was the opposite",
            f"the {other} was {mine}, and so was {the(x)}",
        )
    )


def _expectation(w: Writer, good: bool) -> str:
    x = w.aspect()
    met = w.chance(0.5)
    adjective = w.adjective(x, good if met else not good)
    expected = w.pick(
        (f"I expected {the(x)} to be {adjective}", f"I thought that {the(x)} would be {adjective}")
    )
    ends = (
        ("but I was wrong", f"but {x.subject} {be(x)} not"),
        ("and I was right", f"and {x.subject} {be(x)}"),
    )
    return f"{expected}, {w.pick(ends[met])}"


def _had_it_been(w: Writer, good: bool) -> str:
    x = w.aspect()
    unreal, outcome = w.adjective(x, not good), w.pick(_OUTCOMES[not good])
    return w.pick(
        (
            f"if {the(x)} had been {unreal}, I would have {outcome} the {w.whole.noun}",
            f"I would have {outcome} the {w.whole.noun} if {the(x)} had been {unreal}",
        )
    )


_OUTCOMES = (("disliked", "hated", "detested"), ("enjoyed", "liked", "loved"))


def _facts(w: Writer, good: bool) -> str:
    fact = w.pick(w.domain.facts).format(w.whole.noun)
    main = decisive(w, good)
    return w.pick((f"{fact}, and {main}", f"{main}, and {fact}", f"{fact}. {main}"))


KINDS: dict[str, Template] = {
    "single": single,
    "negation": negation,
    "contrast": contrast,
    "concession": concession,
    "distractor": distractor,
}
