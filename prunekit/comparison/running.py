"""Training what a comparison lacks, in an order in which much is shared."""

from __future__ import annotations

import itertools
import json
import logging
import shutil
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from .. import console
from ..errors import PrunekitError, RunError
from ..files import write_json
from ..planning import located, plan
from ..recipes import Candidate, ComparedRun, Recipe, naming_system
from ..runs import Run, is_done, recipe_of
from ..stages import run_recipe
from .collecting import Finished
from .planned import epochs_of, warn_of_unequal_effort
from .sharing import Pool

logger = logging.getLogger(__name__)


def finished(runs: Iterable[ComparedRun]) -> bool:
    """Whether all runs of a comparison are, and what they were chosen from."""
    return not any(map(_lacks, runs))


def _lacks(run: ComparedRun) -> bool:
    return not all(is_done(Path(recipe.output, recipe.name)) for recipe in _recipes_to_train(run))


def check(runs: Sequence[ComparedRun]) -> None:
    """Plan every run that is not finished, and each setting of a grid: what is wrong is found at once.

    The examples of every task but the first, which training begins with, are read once.

    Raises:
        PrunekitError: naming the place in the recipe, and the system; of the data, their file.
    """
    from ..data import load_task

    first = {(run.system, run.task): run.seed for run in reversed(runs)}
    several = len({run.task for run in runs}) > 1
    lacking = {run.task for run in runs if _lacks(run)}
    epochs = []
    for run in runs:
        # Seeds differ in nothing that a plan looks at; the others are held against the subject.
        looked_at = run.task in lacking if run.subject else _lacks(run)
        if not looked_at or run.seed != first[run.system, run.task]:
            continue
        with nullcontext() if run.subject else naming_system(run.system, run.task if several else None):
            own, *_ = [epochs_of(plan(candidate.recipe)) for candidate in run.candidates]
        epochs.append((run, own))
    warn_of_unequal_effort(epochs)
    later = {
        run.task: run.candidates[0].recipe
        for run in reversed(runs)
        if run.task in lacking and run.task != runs[0].task
    }
    for recipe in later.values():
        with located(recipe):
            load_task(recipe.data, recipe.seed)


def train(own: Run, runs: Sequence[ComparedRun], others: Iterable[ComparedRun] = ()) -> list[Finished]:
    """Train what is not trained yet, one run after another.

    What a teacher answered is kept for the other runs of the same task and seed.

    Args:
        own: the run of the recipe that asks for the comparison, held by the caller.
        runs: as :func:`~prunekit.recipes.expand` gives them.
        others: runs of other recipes, whose stages may be taken over too.

    Raises:
        PrunekitError: of a stage, or a run that is there and was made with other settings. What was done
            before it stays.
    """
    recipes = (recipe for run in [*runs, *others] for recipe in _recipes(run))
    pool = Pool([*recipes, *_of_earlier_comparisons(own.folder, {run.folder for run in runs})])
    work = _Work(own, pool, [(r.output, r.name) for run in runs for r in _recipes_to_train(run)])
    chosen: dict[tuple[str, str], int] = {}
    done = []
    for _, alike in itertools.groupby(runs, key=lambda run: (run.task, run.seed)):
        for run in alike:
            pair = run.system, run.task
            if pair not in chosen:
                chosen[pair] = _choose(run, work)
            candidate = run.candidates[chosen[pair]]
            if run.folder == own.folder and candidate.settings:
                work.keep(candidate)
            work.apply(candidate.recipe, run.place, candidate.settings)
            done.append(Finished(run, candidate.recipe, len(run.candidates)))
        work.forget(done[-1].recipe)
    return done


def _of_earlier_comparisons(folder: Path, known: Collection[Path]) -> Iterator[Recipe]:
    """Recipes of the systems in a run's folder that it is not compared with any more."""
    for file in sorted(folder.glob("compare/*/recipe.yaml")):
        if file.parent in known:
            continue
        try:
            yield recipe_of(file.parent)
        except PrunekitError as error:  # of another version: nothing of it can be taken over
            logger.debug("%s: %s", file, error.message)


def _recipes(run: ComparedRun) -> Iterable[Recipe]:
    for candidate in run.candidates:
        yield candidate.recipe
        if candidate.trial is not None:
            yield candidate.trial


def _recipes_to_train(run: ComparedRun) -> Iterable[Recipe]:
    """The trials, and one for the run itself: which of its candidates it will be, the trials tell."""
    yield from (candidate.trial for candidate in run.candidates if candidate.trial is not None)
    yield run.candidates[0].recipe


class _Work:
    """Applies recipes, and says which of all it is at and how many are left."""

    def __init__(self, own: Run, pool: Pool, folders: Sequence[tuple[str, str]]) -> None:
        self.own = own
        self.pool = pool
        self.total = len(folders)
        self.left = sum(not is_done(Path(output, name)) for output, name in folders)
        if self.total > 1 and self.left:
            logger.info("%d runs are compared or tried, %d of them are to be trained", self.total, self.left)

    def keep(self, candidate: Candidate) -> None:
        """Have the caller's run made with what its grid chose."""
        from accelerate import PartialState

        self.left += self.own.keep(candidate.recipe, candidate.settings)
        PartialState().wait_for_everyone()

    def apply(self, recipe: Recipe, place: str, chosen: Iterable[str] = ()) -> Path:
        """Apply a recipe in its folder, or see that it was applied there; the folder.

        Args:
            recipe: for the caller's own run, or another.
            place: which one, in words.
            chosen: keys that a grid has chosen the values of.
        """
        with ExitStack() as stack:
            own = Run(recipe).folder == self.own.folder
            run = self.own if own else stack.enter_context(_opened(recipe, chosen))
            if run.finished:
                return run.folder
            if self.total > 1:
                number = self.total - self.left + 1
                self.left -= 1
                logger.info("run %d of %d: %s; %d left after it", number, self.total, place, self.left)
                stack.enter_context(console.where(place))
            self._train(recipe, run)
            return run.folder

    def _train(self, recipe: Recipe, run: Run) -> None:
        from accelerate import PartialState

        if run.resumed:
            logger.info("continuing %s", run.folder)
        if console.is_main_process():
            self.pool.take_over(recipe, run)
        PartialState().wait_for_everyone()
        with located(recipe):
            run_recipe(recipe, run, self._cache(recipe))

    def forget(self, recipe: Recipe) -> None:
        """Remove what teachers answered, for all runs of a recipe's task and seed."""
        if console.is_main_process():
            folder = self._cache(recipe)
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # not there, or not empty
                folder.parent.rmdir()

    def _cache(self, recipe: Recipe) -> Path:
        return self.own.folder / "cache" / f"{recipe.data.task}-{recipe.seed}"


@contextmanager
def _opened(recipe: Recipe, chosen: Iterable[str]) -> Iterator[Run]:
    """A run in its own folder, which must have been begun with this very recipe, or another of its grid."""
    with ExitStack() as stack:
        try:
            run = stack.enter_context(Run(recipe, chosen=chosen))
        except RunError as error:
            if "made with another recipe" in error.message:
                error.mend = (
                    "remove that folder to train it anew, or give the system another name in compare.systems "
                    "(stages that are as they were are taken over from other runs); values are best added at "
                    "the end of a grid"
                )
            raise
        yield run


def _choose(run: ComparedRun, work: _Work) -> int:
    """Train every combination of a system's grid on the first seed; which has the best validation score."""
    trials = [candidate.trial for candidate in run.candidates]
    if len(trials) == 1:
        return 0
    scores = []
    say = logger.info if work.left else logger.debug
    for number, (trial, candidate) in enumerate(zip(trials, run.candidates, strict=True), 1):
        assert trial is not None
        folder = work.apply(trial, f"{run.place}, setting {number} of {len(trials)}")
        scores.append(validation_score(trial, folder))
        say("%s, %s: validation score %.4f", run.place, setting_words(candidate.settings), scores[-1])
    best = max(range(len(scores)), key=scores.__getitem__)
    say("%s: %s is kept", run.place, setting_words(run.candidates[best].settings))
    return best


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
    from transformers import AutoTokenizer

    from ..data import collator, encode, load_task, score
    from ..stages.base import load_model
    from ..stages.outputs import model_outputs
    from ..stages.training.predict import exit_scores

    models: dict[str, str] = {}
    for number, key in enumerate(recipe.stages, 1):
        done = folder / "stages" / f"{number}-{key}" / "done.json"
        models.update(json.loads(done.read_text(encoding="utf-8"))["models"])
    tokenizer = AutoTokenizer.from_pretrained(folder / models["model"])
    task = encode(load_task(recipe.data, recipe.seed), tokenizer, recipe.training.max_length)
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
