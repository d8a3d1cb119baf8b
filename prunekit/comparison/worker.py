"""The runs of a comparison, trained one after another by one process, or side by side by several."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path

from .. import console
from ..distill import forget_answers
from ..errors import PrunekitError, RunError
from ..planning import located
from ..recipes import Candidate, ComparedRun, Recipe
from ..runs import Run, is_done, recipe_of
from ..runs.reading import RECIPE
from ..runs.records import DamagedRun
from ..stages import run_recipe
from .claims import Claims
from .results import Finished
from .sharing import Pool, prefix_digests
from .trials import setting_words, validation_score

logger = logging.getLogger(__name__)
_WAIT = 1.0  # seconds until it is looked again for what another process has made


def folders_to_train(runs: Iterable[ComparedRun]) -> list[Path]:
    """The folders of all trials, and of the runs themselves."""
    folders = []
    for run in runs:
        trials = [candidate.trial for candidate in run.candidates if candidate.trial is not None]
        folders += [Run(trial).folder for trial in trials]
        folders.append(run.folder)
    return folders


class Worker:
    """What one process does of one comparison, or several.

    Several processes may be at the same ones: each takes a run that no other has, and whose next stage no
    other is making; a stage that several runs begin with is trained by the first, and the others wait for it.

    Args:
        asked: all that are compared, in the order in which much is shared, by the folder of the run whose
            recipe asks for it.
        held: those runs, held by this process; none for a process that helps the one that holds them.
        claims: where several processes are at it; default: this one is alone.
        threads: the processor's, all of them, for the stages that all runs begin with: meanwhile the other
            processes have nothing to do. Default: every stage has those that there are.
    """

    def __init__(
        self,
        asked: Mapping[Path, Sequence[ComparedRun]],
        *,
        held: Iterable[Run] = (),
        claims: Claims | None = None,
        threads: int | None = None,
    ) -> None:
        self._runs = [run for runs in asked.values() for run in runs]
        self._home = {run.folder: home for home, runs in asked.items() for run in runs}
        self._held = {run.folder: run for run in held}
        self._claims = claims or Claims(None)
        self._threads = threads
        known = {run.folder for run in self._runs}
        earlier = (recipe for home in asked for recipe in _of_earlier_comparisons(home, known))
        self._pool = Pool(itertools.chain(*map(_recipes, self._runs), earlier))
        self._folders = folders_to_train(self._runs)
        # Which candidate the trials of a comparison's system and task chose, and the trials' scores.
        self._chosen: dict[tuple[Path, str, str], int] = {}
        self._scores: dict[Path, float] = {}
        # The runs that were given what their grids chose.
        self._kept: set[Path] = set()
        # Folders of teachers' answers, until no run needs them any more.
        self._caches = set(map(self._cache, self._runs))
        left = sum(not is_done(folder) for folder in self._folders)
        self._silent = not left
        total = len(self._folders)
        if self._held and total > 1 and left:
            logger.info("%d runs are compared or tried, %d of them are to be trained", total, left)

    def finish(self, meanwhile: Callable[[], object] = lambda: None) -> dict[Path, Finished]:
        """Train, or wait for, all runs.

        Args:
            meanwhile: called again and again between the runs; what it raises ends the work.

        Returns:
            Every run, by its folder.

        Raises:
            PrunekitError: of a stage, or a run that is there and was made with other settings.
        """
        made: dict[Path, Finished] = {}
        while True:
            before = len(made)
            for run in self._runs:
                meanwhile()
                if run.folder not in made:
                    finished = self._make(run)
                    made.update({} if finished is None else {run.folder: finished})
                    self._forget([run for run in self._runs if run.folder not in made])
            if len(made) == len(self._runs):
                if console.is_main_process():
                    for home in self._held:
                        forget_answers(home / "cache")  # also of tasks and seeds that are not asked for now
                return made
            if len(made) == before:
                time.sleep(_WAIT)

    def _make(self, run: ComparedRun) -> Finished | None:
        """A run with what its grid chose, trained if need be; ``None`` where it has to wait."""
        candidate = self._choice(run)
        if candidate is None:
            return None
        if candidate.settings and run.folder in self._held.keys() - self._kept:
            self._keep(candidate)
        if not self._apply(run, candidate.recipe, run.place, candidate.settings):
            return None
        return Finished(run, candidate.recipe, len(run.candidates))

    # -- grids

    def _choice(self, run: ComparedRun) -> Candidate | None:
        """The candidate whose setting scored best in the trials, of the first seed, once all are there."""
        if len(run.candidates) == 1:
            return run.candidates[0]
        which = self._home[run.folder], run.system, run.task
        if which not in self._chosen:
            # Where one trial has to wait, others need not.
            tried = [self._tried(run, number) for number in range(len(run.candidates))]
            if not all(tried):
                return None
            trials = [candidate.trial for candidate in run.candidates]
            scores = [self._scores[Run(trial).folder] for trial in trials if trial is not None]
            self._chosen[which] = max(range(len(scores)), key=scores.__getitem__)
            words = setting_words(run.candidates[self._chosen[which]].settings)
            self._say("%s: %s is kept", run.place, words)
        return run.candidates[self._chosen[which]]

    def _tried(self, run: ComparedRun, number: int) -> bool:
        candidate = run.candidates[number]
        if candidate.trial is None:
            return False  # of another seed than the first, which chooses
        folder = Run(candidate.trial).folder
        if folder not in self._scores:
            place = f"{run.place}, setting {number + 1} of {len(run.candidates)}"
            if not self._apply(run, candidate.trial, place, trial=True):
                return False
            self._scores[folder] = validation_score(candidate.trial, folder)
            words = setting_words(candidate.settings)
            self._say("%s, %s: validation score %.4f", run.place, words, self._scores[folder])
        return True

    def _say(self, message: str, *arguments: object) -> None:
        # Where all was there already, nothing was chosen now; and one process is enough to say it.
        logger.log(logging.INFO if self._held and not self._silent else logging.DEBUG, message, *arguments)

    def _keep(self, candidate: Candidate) -> None:
        """Have a run that the caller holds made with what its grid chose."""
        from accelerate import PartialState

        run = self._held[Run(candidate.recipe).folder]
        with self._claims.choosing():
            run.keep(candidate.recipe, candidate.settings)
        PartialState().wait_for_everyone()
        self._kept.add(run.folder)

    # -- one run

    def _apply(
        self, run: ComparedRun, recipe: Recipe, place: str, chosen: Iterable[str] = (), trial: bool = False
    ) -> bool:
        """Apply a recipe in its folder, or see that it was applied there; whether it is now.

        Args:
            run: that it is of.
            recipe: of the run itself, or of a trial.
            place: which one, in words.
            chosen: keys that a grid has chosen the values of.
            trial: score it too, while no other process can.
        """
        with ExitStack() as stack:
            begun = self._begin(recipe, place, chosen, stack)
            if begun is None:
                return False
            if not begun.finished:
                with located(recipe):
                    run_recipe(recipe, begun, self._cache(run), self._threads_of(recipe))
            if trial:
                validation_score(recipe, begun.folder)
            return True

    def _threads_of(self, recipe: Recipe) -> dict[str, int]:
        """Those of single stages, by their keys."""
        if self._threads is None or recipe.training.threads is not None:
            return {}
        stages = zip(recipe.stages, prefix_digests(recipe), strict=True)
        return {key: self._threads for key, digest in stages if digest in self._common}

    @cached_property
    def _common(self) -> set[str]:
        """Digests of the stages that all runs and trials begin with."""
        recipes = itertools.chain(*map(_recipes, self._runs))
        return set.intersection(*(set(prefix_digests(recipe)) for recipe in recipes))

    def _begin(self, recipe: Recipe, place: str, chosen: Iterable[str], stack: ExitStack) -> Run | None:
        """A run that this process may go on with, with what it takes over; its locks are on the stack."""
        from accelerate import PartialState

        folder = Run(recipe).folder
        held = self._held.get(folder)
        if held is None and folder in self._home.values():
            # Another process holds it all the time.
            return Run(recipe) if is_done(folder) else None
        with self._claims.choosing():
            if self._has_to_wait(recipe, folder):
                return None
            left = self._left()
            if not stack.enter_context(self._claims.hold(folder)):
                return None
            run = held or stack.enter_context(_opened(recipe, chosen))
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
        # The second question reads many files, the first one none.
        return self._claims.taken(folder) or any(map(self._claims.taken, self._pool.makers_of_next(recipe)))

    def _left(self) -> int:
        """Runs and trials that are neither trained nor being trained."""
        return sum(not is_done(folder) and not self._claims.taken(folder) for folder in self._folders)

    # -- what teachers answered

    def _forget(self, left: Sequence[ComparedRun]) -> None:
        """Remove what teachers answered that none of the runs that are left will ask for."""
        needed = set(map(self._cache, left))
        for folder in self._caches - needed if self._held and console.is_main_process() else ():
            forget_answers(folder)
            with suppress(OSError):  # not there, or not empty
                folder.parent.rmdir()
        self._caches &= needed

    def _cache(self, run: ComparedRun) -> Path:
        recipe = run.candidates[0].recipe
        return self._home[run.folder] / "cache" / f"{recipe.data.task}-{recipe.seed}"


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
            if isinstance(error, DamagedRun) and RECIPE in error.message:
                error.mend = f"bring it back from a copy, or remove {Run(recipe).folder}: it is trained anew"
            elif "made with another recipe" in error.message:
                error.mend = (
                    "remove that folder to train it anew, or give the system another name in compare.systems "
                    "(stages that are as they were are taken over from other runs); values are best added at "
                    "the end of a grid"
                )
            raise
        yield run
