"""What stands at the top of a model's card once a policy was put into the model after it was made."""

from __future__ import annotations

import re

from ..exits.policies import policy_words
from .guarantee import Guarantee
from .shares import points_words, share_words

_START, _END = "<!-- policy in force -->", "<!-- end of policy in force -->"
_OLD = re.compile(f"{re.escape(_START)}.*?{re.escape(_END)}\n\n?", re.DOTALL)
# Front matter and, right behind it, the title.
_HEAD = re.compile(r"(---\n.*?\n---\n\s*)?(# [^\n]*(\n+|$))?", re.DOTALL)


def with_policy_in_force(card: str, guarantee: Guarantee) -> str:
    """A card that says first which policy the model has now, and that its figures are of the one before.

    What an earlier calibration said there is replaced; all else stays as it is.
    """
    card = _OLD.sub("", card)
    head = _HEAD.match(card)
    place = head.end() if head is not None else 0
    before, after = card[:place], card[place:]
    if before:
        before = before.rstrip("\n") + "\n\n"
    return f"{before}{_START}\n> {_sentence(guarantee)}\n{_END}\n\n{after}"


def _sentence(guarantee: Guarantee) -> str:
    from ..reports.escaping import escape

    sure, most = share_words(guarantee["confidence"]), points_words(guarantee["max_drop"])
    ground = f"{guarantee['examples']:,} {guarantee['source']}"
    if guarantee["policy"] is None:
        shown = (
            f"no policy could be shown, with {sure} confidence on {ground}, to lose at most {most} of "
            "accuracy"
        )
    else:
        shown = (
            f"with {sure} confidence it loses at most {most} of accuracy against all layers, as shown on "
            f"{ground}; the section Guarantee says under which conditions"
        )
    return (
        f"**The policy now in force is {escape(policy_words(guarantee['policy']))}**, put into the model "
        f"after it was made: {escape(shown)}. Headline, figures and tables below are of the policy before, "
        "the one that the model was made with."
    )
