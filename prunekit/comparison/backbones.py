"""Where the weights of a system's backbone come from, in words."""

from __future__ import annotations

from pathlib import PurePath

from ..recipes import Recipe


def backbone_words(recipe: Recipe) -> str:
    """E.g. ``"all-MiniLM-L6-v2, slenderized (multi_exit_taylor, taught by the assistant)"``."""
    name = recipe.model.name
    # Of a folder somewhere on the machine its name and its parent's: many are called "model".
    words = ["/".join(PurePath(name).parts[-2:]) if PurePath(name).is_absolute() else name]
    if recipe.model.is_builtin:
        words[0] += " (random weights)"
    for key in recipe.stages:
        uses, config = recipe.uses(key), recipe.config(key)
        if uses == "student":
            words.append(f"student of {_student_words(config)}")
        elif uses == "slenderize":
            scorer = config.scorer if isinstance(config.scorer, str) else config.scorer["name"]  # type: ignore[attr-defined]
            words.append(f"slenderized ({scorer}, taught by the {config.teacher})")  # type: ignore[attr-defined]
    if len(words) == 1 and recipe.exits.layers not in ("all", "last"):
        words.append(f"up to layer {max(recipe.exits.layers)}")
    return ", ".join(words)


def _student_words(config: object) -> str:
    """What a ``student`` stage takes: a checkpoint, or layers and sizes of the original."""
    told = vars(config)
    if told.get("name"):
        return str(told["name"])
    sizes = [f"{key} {told[key]}" for key in ("layers", "hidden_size", "heads", "neurons") if told.get(key)]
    return ", ".join(["the original", *sizes])
