"""``prunekit list``."""

from __future__ import annotations

import difflib

from rich.table import Table

from .. import console
from ..described import described
from ..errors import PrunekitError
from ..shipped import shipped_recipes

# Kind on the command line -> the package with the registry; also the entry-point group.
KINDS = {
    "stages": "prunekit.stages",
    "granularities": "prunekit.granularities",
    "scorers": "prunekit.scorers",
    "schedulers": "prunekit.schedulers",
    "budgets": "prunekit.budgets",
    "losses": "prunekit.distill.losses",
    "exits": "prunekit.exits.heads",
    "policies": "prunekit.exits.policies",
    "architectures": "prunekit.architectures",
}
RECIPES = "recipes"


def list_kinds(kind: str | None) -> None:
    """Print the parts of one kind, or of all."""
    kinds = [*KINDS, RECIPES]
    if kind is not None and kind not in kinds:
        close = difflib.get_close_matches(kind, kinds, n=1)
        guess = f"did you mean {close[0]!r}? " if close else ""
        raise PrunekitError(f"there is no kind of part called {kind!r}", f"{guess}known: {', '.join(kinds)}")
    for one in kinds if kind is None else [kind]:
        if one == RECIPES:
            _list_recipes()
        else:
            _list_parts(one)


def _list_parts(kind: str) -> None:
    table = console.table(f"{kind} (entry-point group {KINDS[kind]})", "name", "what it is", "from")
    for entry in described(KINDS[kind]):
        table.add_row(entry.name, entry.summary.replace("``", ""), entry.origin)
    _print(table)


def _list_recipes() -> None:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    table = console.table("recipes (prunekit apply NAME)", "name", "what it does", "file")
    for name, file in shipped_recipes().items():
        said = yaml.load(file.read_text("utf-8"), loader).get("description", "")
        table.add_row(name, said, str(file))
    _print(table)


def _print(table: Table) -> None:
    for column in table.columns:
        column.justify = "left"  # words, not figures
    console.out().print(table)
