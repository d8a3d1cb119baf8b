"""The runs of a comparison, trained one after another by one process, or side by side by several."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from .. import console
from ..errors import PrunekitError, RunError
from ..planning import located
from ..recipes import Candidate, ComparedRun, Recipe
from ..runs import Run, is_done, recipe_of
from ..stages import run_recipe
from .claims import Claims
from .collecting import Finished
from .sharing import Pool
from .trials import setting_words, validation_score

logger = logging.getLogger(__name__)
_WAIT = 0.5  # seconds until it is looked again for what another process has made


def folders_to_train(runs: Iterable[ComparedRun]) -> list[Path]:
    """The folders of all trials, and of the runs themselves."""
    folders = []
    for run in runs:
        trials = [candidate.trial for candidate in run.candidates if candidate.trial is not None]
        folders += [Run(trial).folder for trial in trials]
        folders.append(run.folder)
    return folders


class Work:
    """What one process does of a comparison.

    Several may be at the same one: each takes a run that no other has, and whose next stage no other is
    making; a stage that several runs begin with is trained by the first, and the others wait for it.

    Args:
        home: folder of the run whose recipe asks for the comparison.
        runs: all that are compared, in the order in which much is shared.
        others: runs of other recipes, whose stages may be taken over too.
        own: that run, held by this process; ``None`` for a process that helps the one that holds it.
        claims: where several processes are at it; default: this one is alone.
    """

    def __init__(
        self,
        home: Path,
        runs: Sequence[ComparedRun],
        others: Iterable[ComparedRun] = (),
        *,
        own: Run | None = None,
        claims: Claims | None = None,
    ) -> None:
        self._home = home
        self._runs = runs
        self._own = own
        self._claims = claims or Claims(None)
        recipes = (recipe for run in [*runs, *others] for recipe in _recipes(run))
        self._pool = Pool([*recipes, *_of_earlier_comparisons(home, {run.folder for run in runs})])
        self._folders = folders_to_train(runs)
        # Which candidate the trials of a system and task chose, and the trials' scores.
        self._chosen: dict[tuple[str, str], int] = {}
        self._scores: dict[Path, float] = {}
        # Whether the caller's run was given what its grid chose.
        self._kept = False
        # Folders of teachers' answers, until no run needs them any more.
        self._caches = {self._cache(run.candidates[0].recipe) for run in runs}
        left = sum(not is_done(folder) for folder in self._folders)
        self._silent = not left
        total = len(self._folders)
        if own is not None and total > 1 and left:
            logger.info("%d runs are compared or tried, %d of them are to be trained", total, left)

    def finish(self, meanwhile: Callable[[], object] = lambda: None) -> list[Finished]:
        """Train, or wait for, all runs.

        Args:
            meanwhile: called again and again between the runs; what it raises ends the work.

        Raises:
            PrunekitError: of a stage, or a run that is there and was made with other settings.
        """
        made: dict[Path, Finished] = {}
        groups = [list(alike) for _, alike in itertools.groupby(self._runs, lambda run: (run.task, run.seed))]
        while True:
            before = len(made)
            for group in groups:
                for run in group:
                    meanwhile()
                    if run.folder not in made:
                        finished = self._make(run)
                        made.update({} if finished is None else {run.folder: finished})
                if self._own is not None:
                    self._forget([run for run in self._runs if run.folder not in made])
            if len(made) == len(self._runs):
                return [made[run.folder] for run in self._runs]
            if len(made) == before:
                time.sleep(_WAIT)

    def _make(self, run: ComparedRun) -> Finished | None:
        """A run with what its grid chose, trained if need be; ``None`` where it has to wait."""
        candidate = self._choice(run)
        if candidate is None:
            return None
        if self._own is not None and run.folder == self._own.folder and candidate.settings and not self._kept:
            self._keep(self._own, candidate)
            self._kept = True
        if not self._apply(candidate.recipe, run.place, candidate.settings):
            return None
        return Finished(run, candidate.recipe, len(run.candidates))

    # -- grids

    def _choice(self, run: ComparedRun) -> Candidate | None:
        """The candidate whose setting scored best in the trials, of the first seed, once all are there."""
        if len(run.candidates) == 1:
            return run.candidates[0]
        pair = run.system, run.task
        if pair not in self._chosen:
            # Where one trial has to wait, others need not.
            tried = [self._tried(run, number) for number in range(len(run.candidates))]
            if not all(tried):
                return None
            trials = [candidate.trial for candidate in run.candidates]
            scores = [self._scores[Run(trial).folder] for trial in trials if trial is not None]
            self._chosen[pair] = max(range(len(scores)), key=scores.__getitem__)
            words = setting_words(run.candidates[self._chosen[pair]].settings)
            self._say("%s: %s is kept", run.place, words)
        return run.candidates[self._chosen[pair]]

    def _tried(self, run: ComparedRun, number: int) -> bool:
        candidate = run.candidates[number]
        if candidate.trial is None:
            return False  # of another seed than the first, which chooses
        folder = Run(candidate.trial).folder
        if folder not in self._scores:
            place = f"{run.place}, setting {number + 1} of {len(run.candidates)}"
            if not self._apply(candidate.trial, place, trial=True):
                return False
            self._scores[folder] = validation_score(candidate.trial, folder)
            words = setting_words(candidate.settings)
            self._say("%s, %s: validation score %.4f", run.place, words, self._scores[folder])
        return True

    def _say(self, message: str, *arguments: object) -> None:
        # Where all was there already, nothing was chosen now; and one process is enough to say it.
        logger.log(logging.DEBUG if self._silent or self._own is None else logging.INFO, message, *arguments)

    def _keep(self, own: Run, candidate: Candidate) -> None:
        """Have the caller's run made with what its grid chose."""
        from accelerate import PartialState

        with self._claims.choosing():
            own.keep(candidate.recipe, candidate.settings)
        PartialState().wait_for_everyone()

    # -- one run

    def _apply(self, recipe: Recipe, place: str, chosen: Iterable[str] = (), trial: bool = False) -> bool:
        """Apply a recipe in its folder, or see that it was applied there; whether it is now.

        Args:
            recipe: for the caller's own run, or another.
            place: which one, in words.
            chosen: keys that a grid has chosen the values of.
            trial: score it too, while no other process can.
        """
        with ExitStack() as stack:
            run = self._begin(recipe, place, chosen, stack)
            if run is None:
                return False
            if not run.finished:
                with located(recipe):
                    run_recipe(recipe, run, self._cache(recipe))
            if trial:
                validation_score(recipe, run.folder)
            return True

    def _begin(self, recipe: Recipe, place: str, chosen: Iterable[str], stack: ExitStack) -> Run | None:
        """A run that this process may go on with, with what it takes over; its locks are on the stack."""
        from accelerate import PartialState

        folder = Run(recipe).folder
        if folder == self._home and self._own is None:
            return Run(recipe) if is_done(folder) else None
        with self._claims.choosing():
            if self._has_to_wait(recipe, folder):
                return None
            left = self._left()
            if not stack.enter_context(self._claims.hold(folder)):
                return None
            run = stack.enter_context(_opened(recipe, chosen)) if folder != self._home else self._own
            assert run is not None
            if run.finished:
                return run
            if len(self._folders) > 1:
                number = len(self._folders) - left + 1
                logger.info("run %d of %d: %s; %d left after it", number, len(self._folders), place, left - 1)
                stack.enter_context(console.where(place))
            if run.resumed:
                logger.info("continuing %s", run.folder)
            if console.is_main_process():
                self._pool.take_over(recipe, run)
        PartialState().wait_for_everyone()
        return run

    def _has_to_wait(self, recipe: Recipe, folder: Path) -> bool:
        """Whether another process has the run, or is making the first stage that it lacks."""
        if self._claims.alone:
            return False
        return any(map(self._claims.taken, [folder, *self._pool.makers_of_next(recipe)]))

    def _left(self) -> int:
        """Runs and trials that are neither trained nor being trained."""
        return sum(not is_done(folder) and not self._claims.taken(folder) for folder in self._folders)

    # -- what teachers answered

    def _forget(self, left: Sequence[ComparedRun]) -> None:
        """Remove what teachers answered that none of the runs that are left will ask for."""
        from ..distill import forget_answers

        needed = {self._cache(run.candidates[0].recipe) for run in left}
        for folder in self._caches - needed if console.is_main_process() else ():
            forget_answers(folder)
            with suppress(OSError):  # not there, or not empty
                folder.parent.rmdir()
        self._caches &= needed

    def _cache(self, recipe: Recipe) -> Path:
        return self._home / "cache" / f"{recipe.data.task}-{recipe.seed}"


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
