"""What tells which setting of a grid is kept."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from .. import console
from ..recipes import Recipe
from ..runs import check_data, models_of
from ..runs.records import DamagedRun, TrialScore, read_record

logger = logging.getLogger(__name__)


def validation_score(recipe: Recipe, folder: Path) -> float:
    """Mean over exits of the main metric on the validation examples, of the model a run's last stage left.

    By the same score checkpoints are chosen. It is computed once and kept beside the run.
    """
    from accelerate import PartialState

    file = folder / "validation.json"
    if file.is_file():
        try:
            return read_record(file, TrialScore, "").score
        except DamagedRun as error:
            logger.warning("%s; it is computed again", error.message)
    PartialState().wait_for_everyone()
    score = _validation_score(recipe, folder)
    if console.is_main_process():
        TrialScore(score=score).write(file)
    PartialState().wait_for_everyone()
    return score


def _validation_score(recipe: Recipe, folder: Path) -> float:
    from accelerate import PartialState

    from ..data import collator, encode, label_names_of_model, load_task, score
    from ..models import ModelConfig
    from ..pretrained import read_tokenizer
    from ..stages.base import load_model
    from ..stages.outputs import model_outputs
    from ..stages.training.predict import exit_scores

    models = models_of(folder, recipe.stages)
    tokenizer = read_tokenizer(folder / models["model"])
    names = label_names_of_model(ModelConfig(name=str(folder / models["model"])))
    task = encode(load_task(recipe.data, recipe.seed, names), tokenizer, recipe.training.max_length)
    check_data(folder, recipe, task, ["validation"])
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
