"""A recipe's ``compare:`` as ordinary recipes: for every system, task and seed, and every setting tried.

Over the recipe that a system extends lie, in this order: what all that is compared shares (:data:`SHARED`),
the task's settings, the system's own, and the combination of its grid.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import PrunekitError, RecipeError
from .comparing import SystemConfig
from .loading import read_base
from .overrides import merge, set_key
from .schema import Recipe
from .shares import put, take
from .source import Location, Source
from .tasks import place_of, rerooted, task_source
from .validation import validate

SHARED = ("model", "data", "training")
_SHARED_OF_EXITS = ("layers", "reads", "dropout")
_SHARED_OF_EVALUATE = ("sequence_length", "max_drop")
_SHARED_OF_JOINT_FINETUNE = ("epochs", "learning_rate")
# The recipe's own other seeds, tasks and trials lie under this name, since the run may be renamed.
_OWN = "own"
# Stages that train nothing: a setting is chosen before the first of them.
_MEASURING = ("calibrate", "evaluate")


@dataclass(frozen=True)
class Candidate:
    """One combination of a grid.

    Attributes:
        settings: dotted key -> value; empty where there is no grid.
        recipe: the whole recipe with it.
        trial: the same up to where all is trained, for the first seed; ``None`` where nothing is to be tried.
    """

    settings: dict[str, Any]
    recipe: Recipe
    trial: Recipe | None = None


@dataclass(frozen=True)
class ComparedRun:
    """A run of a comparison: of one system, on one task, with one seed.

    Attributes:
        system: its name; ``label`` is what tables and figures call it.
        place: which run it is, in words as few as tell it from the others.
        candidates: what it may come to be: one, or several of which the first seed's trials choose.
        subject: whether it is of the recipe that asks for the comparison.
    """

    system: str
    label: str
    task: str
    seed: int
    place: str
    candidates: list[Candidate]
    subject: bool = False

    @property
    def folder(self) -> Path:
        """The run's folder."""
        recipe = self.candidates[0].recipe
        return Path(recipe.output) / recipe.name


def expand(recipe: Recipe, folder: Path | None = None) -> list[ComparedRun]:
    """All runs that a recipe's comparison consists of, its own first; the others lie in ``<run>/compare``.

    They come task by task, seed by seed, system by system, so that what several share is made at once.

    Args:
        recipe: with or without ``compare``.
        folder: of the recipe's own run; default: where applying it puts it.

    Raises:
        RecipeError: naming the place of a setting that cannot be followed, and the system.
    """
    config = recipe.compare
    home = Path(recipe.output) / recipe.name if folder is None else folder
    seeds = [recipe.seed] if config is None or config.seeds is None else config.seeds
    tasks = list(config.tasks) if config is not None and config.tasks else [recipe.data.task]
    own = SystemConfig() if config is None else SystemConfig(grid=config.grid, label=config.label)
    systems = {recipe.name: own, **({} if config is None else config.systems)}
    _refuse_taken_names(recipe)
    runs = []
    for task, seed in itertools.product(tasks, seeds):
        for name, system in systems.items():
            subject, first = system is own, (task == tasks[0], seed == seeds[0])
            parts = "" if first[0] else task, "" if first[1] else str(seed)
            stem = _joined(_OWN if subject else name, *parts)
            with nullcontext() if subject else naming_system(name, task if len(tasks) > 1 else None):
                if subject and all(first):
                    candidates = _own_candidates(recipe, system.grid)
                else:
                    base = _system_source(recipe, name, system, task)
                    base.data.update(name=stem, output=str(home / "compare"), seed=seed)
                    base.data["description"] = system.label or name
                    if not first[1] and base.data["data"].get("seed") is None:
                        # Other seeds train on the same examples.
                        base.data["data"]["seed"] = seeds[0]
                    whose = () if subject else ("systems", name)
                    candidates = _candidates(base, recipe, system.grid, whose)
                if first[1] and len(candidates) > 1:
                    candidates = [
                        replace(one, trial=_trial(one.recipe, home / "grid", f"{stem}-{number}"))
                        for number, one in enumerate(candidates, 1)
                    ]
            words = [name, *([task] if len(tasks) > 1 else []), *([f"seed {seed}"] if len(seeds) > 1 else [])]
            place, label = ", ".join(words), system.label or name
            runs.append(ComparedRun(name, label, task, seed, place, candidates, subject))
    _refuse_same_folders(runs)
    return runs


def _refuse_taken_names(recipe: Recipe) -> None:
    """A system needs folders of its own."""
    taken = {
        _OWN: ("is what the recipe's own other runs are called", ""),
        recipe.name: ("is the name of the recipe itself", ", or the run: --name OTHER"),
    }
    for name in taken.keys() & set(recipe.compare.systems if recipe.compare is not None else ()):
        place, (what, otherwise) = place_of(recipe._marks, "compare", "systems", name), taken[name]
        raise RecipeError(
            f"{place}: compare.systems: {name!r} {what}", f"give the system another name{otherwise}"
        )


def _own_candidates(recipe: Recipe, grid: dict[str, list[Any]]) -> list[Candidate]:
    """The recipe itself, or with each combination of its grid."""
    if not grid:
        return [Candidate({}, recipe)]
    return _candidates(Source(recipe.resolved(), dict(recipe._marks)), recipe, grid, ())


def _candidates(
    base: Source, comparing: Recipe, grid: dict[str, list[Any]], whose: tuple[str, ...]
) -> list[Candidate]:
    """A recipe with each combination of a grid, which is ``compare.<whose>.grid``."""
    recipe = validate(base, comparing._origin)
    if not grid:
        return [Candidate({}, recipe)]
    at, dense = place_of(comparing._marks, "compare", *whose, "grid"), _dense_model(recipe)
    candidates = []
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        source = Source(copy.deepcopy(base.data), dict(base.marks))
        for key, value in settings.items():
            source = set_key(source, key, value, Location(f"{at}: grid: {key}"))
        recipe = validate(source, comparing._origin)
        _refuse_what_is_not_tried(recipe, settings, dense, at)
        candidates.append(Candidate(settings, recipe))
    return candidates


def _trained(recipe: Recipe) -> list[str]:
    """The stages up to the first that only measures."""
    kinds = [recipe.uses(key) for key in recipe.stages]
    end = min((kinds.index(kind) for kind in _MEASURING if kind in kinds), default=len(kinds))
    return recipe.stages[:end]


def _dense_model(recipe: Recipe) -> dict[str, Any]:
    """What decides the dense model: it is the teacher of all, and what all are set against."""
    found = {}
    for key in recipe.stages:
        config = recipe.config(key)
        makes_it = recipe.uses(key) == "finetune" and getattr(config, "start", None) == "backbone"
        if makes_it and getattr(config, "exits", None) == "last":
            found[key] = recipe.stage_class(key)(config).inputs(recipe, key)
    return found


def _refuse_what_is_not_tried(
    recipe: Recipe, settings: dict[str, Any], dense: dict[str, Any], at: Location
) -> None:
    """A grid tries what changes its own system's training, and nothing that others share."""
    if _dense_model(recipe) != dense:
        raise RecipeError(
            f"{at}: grid: {', '.join(settings)}: the dense model of {', '.join(dense)} is shared by all that "
            "is compared, and cannot be tried",
            "try stages behind it; set what decides it in the recipe that compares",
        )
    for key in settings:
        if key.split(".")[0] not in ("exits", *_trained(recipe)):
            raise RecipeError(
                f"{at}: grid: {key}: no stage that is trained depends on it, so that there is nothing to try",
                f"try settings of {', '.join(_trained(recipe))}",
            )


def _trial(recipe: Recipe, home: Path, name: str) -> Recipe:
    """The recipe up to its first stage that only measures, in a folder of its own."""
    stages = _trained(recipe)
    dropped = {*recipe.stages, "compare", "shares"} - set(stages)
    data = {key: value for key, value in recipe.resolved().items() if key not in dropped}
    data |= {"name": name, "output": str(home), "stages": stages}
    return validate(Source(data, dict(recipe._marks)), recipe._origin)


def _system_source(recipe: Recipe, name: str, system: SystemConfig, task: str) -> Source:
    """A system's recipe for a task, but for what differs from run to run."""
    shared = task_source(recipe, task)
    comparing = validate(Source(copy.deepcopy(shared.data), dict(shared.marks)), recipe._origin)
    base = shared if system.extends is None else read_base(system.extends)
    inherited = base.data.pop("shares", None) or []
    if system.extends is not None:
        _share(base, comparing)
        if system.shares is None:
            places = [place_of(base.marks, "shares", str(index)) for index in range(len(inherited))]
            take(base, comparing, inherited, places, strict=False)
    path = ("compare", "systems", name, "shares")
    places = [place_of(recipe._marks, *path, str(index)) for index in range(len(system.shares or []))]
    take(base, comparing, system.shares or [], places, strict=True)
    own = Source(system.settings, rerooted(recipe._marks, path[:3]))
    if system.extends is None:
        merged = merge(base, own)
        for key in set(recipe.stages) - set(merged.data["stages"]) - set(own.data):
            del merged.data[key]  # of a stage that this system leaves out
        return merged
    assert recipe.compare is not None
    settings = recipe.compare.tasks[task].settings if recipe.compare.tasks else {}
    stages = base.data.get("stages") or []
    # Settings of stages that this system does not have are not about it.
    settings = {key: value for key, value in settings.items() if key in stages and key != "finetune"}
    marks = rerooted(recipe._marks, ("compare", "tasks", task))
    return merge(merge(base, Source(settings, marks)), own)


def _share(base: Source, recipe: Recipe) -> None:
    """Lay over a system's recipe what all that is compared has in common."""
    shared, stages = recipe.resolved(), base.data.get("stages") or []
    for key in SHARED:
        put(base, recipe, (key,), shared[key])
    layers = (base.data.get("exits") or {}).get("layers")
    for key in _SHARED_OF_EXITS:
        if key != "layers" or layers is None:
            put(base, recipe, ("exits", key), shared["exits"][key])
    if "evaluate" in stages and "evaluate" in shared:
        for key in _SHARED_OF_EVALUATE:
            put(base, recipe, ("evaluate", key), shared["evaluate"][key])
    if "finetune" in stages and "finetune" in shared:
        _share_finetune(base, recipe, shared)


def _share_finetune(base: Source, recipe: Recipe, shared: dict[str, Any]) -> None:
    """The same dense original for all; of one that trains its exits there, the same effort."""
    one, other, exits = shared["finetune"], base.data.get("finetune") or {}, shared["exits"]
    if "recipe" in (one["exits"], other.get("exits")):
        for key in _SHARED_OF_JOINT_FINETUNE:
            put(base, recipe, ("finetune", key), one[key])
        return
    made = {**one, "head": one["head"] or exits["head"], "reads": one["reads"] or exits["reads"]}
    head = other.get("head")
    if head is None and _exits_are_made_like_the_dense_models(base):
        head = (base.data.get("exits") or {}).get("head")
    if head == "pooled":
        made["head"] = head
    put(base, recipe, ("finetune",), made)


def _exits_are_made_like_the_dense_models(base: Source) -> bool:
    """Whether the other exits are added to the dense model while its own stays as it is, as DeeBERT's."""
    stages = base.data["stages"]
    after = stages[stages.index("finetune") + 1 :][:1]
    return any((base.data.get(key) or {}).get("uses", key) == "train_exits" for key in after)


def _joined(*parts: str) -> str:
    return "-".join(part for part in parts if part)


@contextmanager
def naming_system(system: str, task: str | None) -> Iterator[None]:
    """Errors say which system they are about, after the place in the file."""
    try:
        yield
    except PrunekitError as error:
        error.message += f" (system {system}{f' on {task}' if task else ''})"
        error.args = (error.message,)
        raise


def _refuse_same_folders(runs: list[ComparedRun]) -> None:
    seen: dict[Path, ComparedRun] = {}
    for run in runs:
        other = seen.setdefault(run.folder, run)
        if other is not run:
            raise RecipeError(
                f"compare: {other.place} and {run.place} would both lie in {run.folder}",
                "give one of the systems another name",
            )
