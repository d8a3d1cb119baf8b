"""The recipes that come with prunekit."""

from __future__ import annotations

from pathlib import Path


def shipped_recipes() -> dict[str, Path]:
    """Name -> file."""
    return {file.stem: file for file in sorted(_folder().glob("*.yaml"))}


def _folder() -> Path:
    """Inside the installed package; in a checkout, the repository's own folder."""
    package = Path(__file__).parent / "recipes" / "builtin"
    return package if package.is_dir() else Path(__file__).parents[1] / "recipes"
