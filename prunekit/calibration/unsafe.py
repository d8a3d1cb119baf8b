"""What is said where no policy that lets any leave early can be shown to be safe, and what would mend it."""

from __future__ import annotations

from ..errors import PrunekitError
from ..exits.policies import policy_words
from .bounds import Bound, examples_needed
from .choosing import Calibration
from .shares import points_words, share_words

_OTHERWISE = "or store that every input goes through all layers: --all-layers"


def nothing_safe(
    found: Calibration,
    source: str,
    policy: str,
    *,
    bound: Bound | None = None,
    other: Calibration | None = None,
) -> PrunekitError:
    """The error of a calibration that found nothing.

    Args:
        found: without a policy.
        source: what the examples are.
        policy: name of the policies.
        bound: that was asked for; ``None``: any.
        other: the same examples by the other bound.
    """
    ground = f"{found.examples:,} {source}"
    slowest = next((tried for tried in found.tried if tried.leaves_early), None)
    if slowest is None:
        return PrunekitError(
            f"none of the {len(found.tried)} {policy} policies lets any of {ground} leave before the last "
            "layer. The model is unchanged",
            f"try another --policy, train its exits longer, {_OTHERWISE}",
        )
    words = (
        f"no {policy} policy could be shown, with {share_words(found.confidence)} confidence, to lose at "
        f"most {points_words(found.max_drop)} of accuracy against all layers: on {ground} already "
        f"{policy_words(slowest.policy)}, the slowest, made {slowest.harmed} right answers wrong and "
        f"{slowest.helped} wrong ones right. The model is unchanged"
    )
    if other is not None and other.chosen is not None:
        return PrunekitError(
            f"{words}. By the {other.bound} bound the same examples do show it, of "
            f"{policy_words(other.chosen.policy)}",
            f"give --bound {other.bound}, which counts as another try on the same examples, allow a larger "
            f"--max-drop, give more labelled examples, {_OTHERWISE}",
        )
    needed = examples_needed(
        slowest.harmed, slowest.helped, found.examples, found.max_drop, found.confidence, bound
    )
    if needed is None:
        more, mend = "more examples that go like these would not show it", "allow a larger --max-drop"
    else:
        more = f"it would take about {needed:,} labelled examples that go like these"
        mend = "give so many, allow a larger --max-drop"
    return PrunekitError(f"{words}; {more}", f"{mend}, try another --policy, {_OTHERWISE}")
