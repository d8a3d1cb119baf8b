"""Whether what lies in a run is still what its stages wrote."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..digests import Digests, damaged, digests_of
from ..errors import PrunekitError, RunError
from ..files import is_a_link
from ..text import shown
from .records import COMPUTING, DATA, DONE, INFO, KEPT, DamagedRun, Info, StageDone, read_record

MODEL, REPORT, OUTPUTS = "model", "report", "outputs"
# What a run has in its folder, beside what somebody else may put there.
OWN_FILES = ("recipe.yaml", "metrics.jsonl", "validation.json", DONE, INFO, KEPT, DATA, COMPUTING, ".lock")
_OWN_FOLDERS = ("stages", MODEL, REPORT, OUTPUTS, "cache", "compare", "grid", ".aside")
# What calibrating changes of a model, and comparing of a report.
CHANGED = {
    MODEL: ("config.json", "README.md", "calibrations.json"),
    REPORT: ("report.json", "report.md", "index.html"),
}


@dataclass(frozen=True)
class Found:
    """A stage as it lies in a run.

    Attributes:
        done: its record, where it is whole and need not be made; else ``None``.
        why: it is to be made again, though it was done, in words.
        whole, wrong: published files, where it was made before from the same models, and some are damaged.
    """

    done: StageDone | None = None
    why: str | None = None
    whole: frozenset[str] = frozenset()
    wrong: frozenset[str] = frozenset()

    def keeps(self, folder: str) -> bool:
        """Whether all that was published in a folder of the run is whole: it need not be written again."""
        below = f"{folder}/"
        return any(path.startswith(below) for path in self.whole) and not any(
            path.startswith(below) for path in self.wrong
        )


def find_stage(run: Path, stage: Path, models: Mapping[str, str]) -> Found:
    """A stage as it lies in a run: done, and whole, and made from the models that there are; or to be made.

    Args:
        run: the run's folder.
        stage: the stage's.
        models: role -> digest of the model that has it where the stage begins.
    """
    if not os.path.lexists(stage / DONE):
        return Found()
    try:
        record = read_record(stage / DONE, StageDone, "it is made again")
    except DamagedRun as error:
        return Found(why=error.message)
    for role, digest in record.reads.items():
        if models.get(role) != digest:
            return Found(why=f"the {role} model that it was made from is another now")
    if record.files is None:
        return _adopted(run, stage, record)
    wrong = damaged(run, record.files)
    if not wrong:
        return Found(record)
    return Found(None, _words(run, wrong), frozenset(record.files) - wrong.keys(), frozenset(wrong))


def _adopted(run: Path, stage: Path, record: StageDone) -> Found:
    """A stage of a version that did not say what its files hold: they are taken to be what it wrote."""
    from ..console import is_main_process

    folders = [run / path for path in record.models.values()]
    for folder in folders:
        if not (folder / "model.safetensors").is_file():
            return Found(why=f"{folder} is not there")
    if run / MODEL in folders:
        folders += [run / name for name in (REPORT, OUTPUTS) if (run / name).is_dir()]
    record = record.model_copy(update={"files": digests_of(folders, run)})
    if is_main_process():
        record.write(stage / DONE)
    return Found(record)


def _words(run: Path, wrong: Mapping[str, str]) -> str:
    path, words = next(iter(wrong.items()))
    more = f" (and {len(wrong) - 1} more files)" if len(wrong) > 1 else ""
    return f"{run / path} {words}{more}"


def damage(run: Path, stages: Iterable[str]) -> str | None:
    """What is wrong in a finished run, in words; ``None``: nothing.

    Args:
        run: its folder.
        stages: names of the folders of all its stages.
    """
    models: dict[str, str] = {}
    for name in stages:
        stage = run / "stages" / name
        if not os.path.lexists(stage / DONE):
            return f"{stage / DONE} is not there"
        found = find_stage(run, stage, models)
        if found.done is None:
            return found.why
        models.update({role: found.done.digest_of(role) for role in found.done.models})
    return None


def check_result(run: Path, *names: str) -> None:
    """Refuse a run whose result is not any more what its stages wrote.

    Args:
        run: its folder.
        names: of the folders and files of the result, e.g. ``"model"``; what no record tells of
            is not looked at.

    Raises:
        RunError: naming a file.
    """
    _refuse_links(run, names)
    files: Digests = {}
    for stage in _stages(run):
        record = read_record(stage / DONE, StageDone, _mend(run))
        files.update(record.files or {})
    below = tuple(f"{name}/" for name in names)
    asked = {path: digest for path, digest in files.items() if path in names or path.startswith(below)}
    if wrong := damaged(run, asked):
        raise RunError(f"the run {run} is damaged: {_words(run, wrong)}", _mend(run))


def models_of(run: Path, stages: Iterable[str]) -> dict[str, str]:
    """Role -> folder of the model that has it in the end, below the run's, as the stages' records tell.

    Args:
        run: its folder.
        stages: keys of its stages; those that are not done tell nothing.

    Raises:
        RunError: a record is damaged.
    """
    models: dict[str, str] = {}
    for number, key in enumerate(stages, 1):
        done = run / "stages" / f"{number}-{key}" / DONE
        if done.is_file():
            models.update(read_record(done, StageDone, _mend(run)).models)
    return models


def record_changed(folder: Path) -> None:
    """Keep the run's record true where its ``model/`` or ``report/`` was changed on purpose.

    Only files that calibrating or comparing writes are looked at. With another folder nothing is done.

    Args:
        folder: that was changed, e.g. ``runs/mine/model``.

    Raises:
        RunError: the record cannot be read or written.
    """
    place = folder.resolve()
    run, names = place.parent, CHANGED.get(place.name)
    if names is None or not (run / "recipe.yaml").is_file():
        return
    for stage in _stages(run):
        record = read_record(stage / DONE, StageDone, _mend(run))
        if not any(path.startswith(f"{place.name}/") for path in record.files or {}):
            continue
        now = digests_of([place / name for name in names if (place / name).is_file()], run)
        record.model_copy(update={"files": {**(record.files or {}), **now}}).write(stage / DONE)


def _stages(run: Path) -> Iterator[Path]:
    """Folders of the stages that say that they are done, in their order."""
    folders = [folder for folder in run.glob("stages/*-*") if folder.name.partition("-")[0].isdecimal()]
    for folder in sorted(folders, key=lambda folder: int(folder.name.partition("-")[0])):
        if os.path.lexists(folder / DONE):
            yield folder


def _mend(run: Path) -> str:
    try:
        command = read_record(run / INFO, Info, "").command
    except PrunekitError:
        command = ""
    given = f": {shown(command, keep='')}" if command else ""
    return f"apply the run's recipe again, which makes again what is damaged, and nothing else{given}"


def refuse_links(run: Path) -> None:
    """Refuse a run folder in which something of the run's own is a symbolic link.

    Raises:
        RunError: naming the link. What it leads to would be written, or removed.
    """
    _refuse_links(run, (*OWN_FILES, *_OWN_FOLDERS))


def _refuse_links(run: Path, names: Iterable[str]) -> None:
    for name in names:
        if (run / name).is_symlink():
            raise is_a_link(run / name)
        for place, folders, files in os.walk(run / name):
            for entry in (*folders, *files):
                if Path(place, entry).is_symlink():
                    raise is_a_link(Path(place, entry))
