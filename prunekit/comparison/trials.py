"""What tells which setting of a grid is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .. import console
from ..files import write_json
from ..recipes import Recipe


def validation_score(recipe: Recipe, folder: Path) -> float:
    """Mean over exits of the main metric on the validation examples, of the model a run's last stage left.

    By the same score checkpoints are chosen. It is computed once and kept beside the run.
    """
    from accelerate import PartialState

    file = folder / "validation.json"
    if not file.is_file():
        score = _validation_score(recipe, folder)
        if console.is_main_process():
            write_json(file, {"score": score})
        PartialState().wait_for_everyone()
    return float(json.loads(file.read_text(encoding="utf-8"))["score"])


def _validation_score(recipe: Recipe, folder: Path) -> float:
    from accelerate import PartialState

    from ..data import collator, encode, label_names_of_model, load_task, score
    from ..models import ModelConfig
    from ..pretrained import read_tokenizer
    from ..stages.base import load_model
    from ..stages.outputs import model_outputs
    from ..stages.training.predict import exit_scores

    models: dict[str, str] = {}
    for number, key in enumerate(recipe.stages, 1):
        done = folder / "stages" / f"{number}-{key}" / "done.json"
        models.update(json.loads(done.read_text(encoding="utf-8"))["models"])
    tokenizer = read_tokenizer(folder / models["model"])
    names = label_names_of_model(ModelConfig(name=str(folder / models["model"])))
    task = encode(load_task(recipe.data, recipe.seed, names), tokenizer, recipe.training.max_length)
    model = load_model(folder / models["model"], PartialState().device)
    size = recipe.training.eval_batch_size
    outputs = model_outputs(model, None, task, "validation", collator(tokenizer), size)
    scores = exit_scores(
        outputs.logits, outputs.labels, lambda true, said: score(task.task.metrics, true, said)
    )
    return float(scores["score"])


def setting_words(settings: dict[str, Any]) -> str:
    """A combination of a grid in words."""
    return ", ".join(f"{key} {value}" for key, value in settings.items())
