"""What ``MODEL|RUN`` and options on the command line mean."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import RunError
from ..text import shown


def is_run(folder: Path) -> bool:
    """Whether the folder is a run's."""
    return (folder / "recipe.yaml").is_file() and (folder / "run.json").is_file()


def run_of(source: str | Path) -> Path | None:
    """The run that ``source`` is, or that a model folder lies in; ``None`` where there is none."""
    folder = Path(source)
    return next((one for one in (folder, folder.resolve().parent) if is_run(one)), None)


def model_folder(source: str) -> Path:
    """The model folder that ``source`` is, or that the run of that folder made.

    Raises:
        RunError: a run that has made no model yet, or whose model is not any more what it wrote.
    """
    from ..runs import check_result, is_done

    folder = Path(source)
    if not is_run(folder):
        return folder
    model = folder / "model"
    if model.is_dir() or is_done(folder):
        check_result(folder, model.name)
    if not model.is_dir():
        raise RunError(
            f"the run {shown(str(folder), keep='')} has no model yet",
            "it is not finished: give its prunekit apply command again to continue it",
        )
    return model


def as_overrides(**options: object) -> list[str]:
    """Options as the overrides they stand for; quoted, so that a run called 7 is not a number."""
    return [f"{key}={json.dumps(str(value))}" for key, value in options.items() if value is not None]
