"""What a pruner's steps will leave, before any of them is taken; and tables of sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .groups import Group
from .text import table


@dataclass(frozen=True)
class PlannedStep:
    """The model after one step.

    Attributes:
        step: its number; the first row of a plan is the model as it is now.
        fraction: of the way to the budget, in [0, 1].
        sizes: units of every group, by its name; ``None`` where they cannot be known yet.
        parameters: of the whole model; ``None`` with ``sizes``.
        macs: multiply-adds of one example; ``None`` with ``sizes``, or where no example can be made.
    """

    step: int
    fraction: float
    sizes: Mapping[str, int] | None = None
    parameters: int | None = None
    macs: int | None = None

    @property
    def flops(self) -> int | None:
        """Two for every multiply-add."""
        return None if self.macs is None else 2 * self.macs


@dataclass(frozen=True, repr=False)
class Plan(Sequence[PlannedStep]):
    """A pruner's remaining steps, printed as a table: ``plan[0]`` is the model now, ``plan[-1]`` at the end.

    Attributes:
        rows: the model now, and after each remaining step.
        granularities: group name -> granularity.
        excluded: what granularities left out, and why: name -> reason.
        notes: what is not known, and why; or how well it is.
    """

    rows: tuple[PlannedStep, ...]
    granularities: Mapping[str, str]
    excluded: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __getitem__(self, index):  # type: ignore[no-untyped-def, override]
        """One row, or a tuple of them."""
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        kinds = dict.fromkeys(self.granularities.values())
        lines = table(
            ["step", "parameters", "multiply-adds", *kinds],
            [
                [
                    "now" if row is self.rows[0] else row.step,
                    _number(row.parameters),
                    _number(row.macs),
                    *("?" if row.sizes is None else span(self._sizes(row.sizes, kind)) for kind in kinds),
                ]
                for row in self.rows
            ],
        )
        left_out = [f"left out: {name}: {reason}" for name, reason in self.excluded.items()]
        return "\n".join([lines, *self.notes, *left_out])

    def _sizes(self, sizes: Mapping[str, int], kind: str) -> Iterator[int]:
        return (size for name, size in sizes.items() if self.granularities[name] == kind)


def by_kind(groups: Iterable[Group]) -> str:
    """A table of groups, one line a granularity: how many, and their sizes now and at the beginning."""
    kinds: dict[str, list[Group]] = {}
    for group in groups:
        kinds.setdefault(group.granularity, []).append(group)
    rows = [
        [kind, len(members), span(g.size for g in members), span(g.initial_size for g in members)]
        for kind, members in kinds.items()
    ]
    return table(["granularity", "groups", "units of each", "at first"], rows)


def span(sizes: Iterable[int]) -> str:
    """Sizes in short: the one they all have, or the least and the largest."""
    found = sorted(set(sizes))
    return f"{found[0]:,}" if len(found) == 1 else f"{found[0]:,} to {found[-1]:,}"


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"
