"""Dependencies point one way, as docs/architecture.md says."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "prunekit"

# Lowest first. A room imports from its own tier and from those below it.
TIERS = [
    {
        "errors",
        "text",
        "arguments",
        "settings",
        "registry",
        "described",
        "shipped",
        "lazy",
        "registration",
        "files",
        "console",
        "machine",
        "groups",
        "modes",
    }
    | {
        "architectures",
        "dependency_graph",
        "pretrained",
        "digests",
        "views",
        "wrappers",
        "module_sizes",
        "optimizers",
        "undo",
    },
    {"sizes"},
    {"granularities", "scorers", "schedulers", "budgets", "costs", "exits", "slim", "loading", "plain"},
    {"pruner", "distill", "reports", "data", "models", "checkpoints", "runtime", "testing"}
    | {"calibration", "step_plan"},
    {"callback"},
    {"stages", "recipes", "planning", "runs"},
    {"comparison"},
    {"commands"},
    {"cli", "__main__"},
]
# A recipe's schema is made of its stages, and a stage says what it will do: these know each other.
MUTUAL = TIERS[5]


def imports() -> dict[str, set[str]]:
    """Room -> rooms it imports from, at any time but for type checking."""
    found: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        if len(parts) == 2 and parts[1] == "__init__":
            continue
        here = found.setdefault(parts[1], set())
        tree = ast.parse(file.read_text(encoding="utf-8"))
        typing_only = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level and id(node) not in typing_only:
                base = parts[: len(parts) - node.level]
                names = [node.module] if node.module else [alias.name for alias in node.names]
                here.update((*base, *name.split("."))[1] for name in names)
        here.discard(parts[1])
    rooms = {path.stem for path in PACKAGE.iterdir() if path.stem != "__init__"}
    return {room: targets & rooms for room, targets in found.items()}


def test_every_room_has_its_tier():
    assert set().union(*TIERS) >= set(imports())


def test_imports_go_down():
    tier = {room: number for number, rooms in enumerate(TIERS) for room in rooms}
    up = [f"{a} -> {b}" for a, targets in imports().items() for b in targets if tier[b] > tier[a]]
    assert up == []


def test_no_room_imports_itself_through_others():
    graph = {room: {"mutual" if t in MUTUAL else t for t in targets} for room, targets in imports().items()}
    graph["mutual"] = set().union(*(graph.pop(room) for room in MUTUAL)) - {"mutual"}
    list(TopologicalSorter(graph).static_order())  # CycleError names the rooms


def test_only_architectures_ask_for_a_family():
    for file in PACKAGE.rglob("*.py"):
        if file.parent.name != "architectures":
            text = file.read_text(encoding="utf-8")
            assert not re.search(r"model_type\s*(==|!=|in\b|not in\b)", text), file
