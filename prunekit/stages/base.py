"""The contract of a stage, and what it is given."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from ..digests import broken, seal
from ..errors import RecipeError
from ..files import write_json
from ..settings import Settings
from .metrics import MetricsLog

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from ..data import EncodedTask
    from ..exits import MultiExitForSequenceClassification
    from ..models import ModelConfig
    from ..planning import Plan, Work
    from ..recipes import Recipe
    from ..runs.checking import Found
    from ..runs.computing import Computing
    from .config import TrainingConfig


logger = logging.getLogger(__name__)
RECORD = "record.json"
# Settings of training that change how a stage comes to its result, not the result.
_NOT_DECIDING = ("eval_batch_size", "checkpoint_seconds", "threads")


class StageConfig(Settings):
    """Base of the stages' configurations."""


class Stage(ABC):
    """One step of a recipe.

    Attributes:
        Config: what a recipe may set, with defaults.
        needs: roles of the models it reads, e.g. ``("model", "assistant")``. Where its configuration
            decides, ``__init__`` sets them on the object.
        gives: roles of the models it writes; the same holds.
    """

    Config: ClassVar[type[StageConfig]] = StageConfig
    needs: tuple[str, ...] = ()
    gives: tuple[str, ...] = ("model",)

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def run(self, context: StageContext) -> None:
        """Do it: read ``context.models``, call ``context.publish`` for what was made, log metrics.

        Killed at any moment and called again with the same folder, it goes on from its last checkpoint and
        publishes the same weights.
        """

    def plan(self, plan: Plan) -> list[Work]:
        """The training it will do. Changes ``plan.model``, which has no weights, as it would the real one.

        Raises:
            PrunekitError: it cannot be done; found out here, before anything is computed.
        """
        return []

    def start_models(self, recipe: Recipe, key: str) -> dict[str, ModelConfig]:
        """Models that it begins with beside the recipe's own, by the dotted keys that name them.

        A run does not go on with other files of them than it began with.
        """
        return {}

    def inputs(self, recipe: Recipe, key: str) -> dict[str, Any]:
        """All that decides the result besides the models that are read, as plain JSON values.

        Two stages that have the same inputs, and all before them too, make the same models. A stage that
        does not look at some of it leaves it out.

        Args:
            recipe: validated.
            key: the stage's key in it.
        """
        resolved = recipe.resolved()
        config = dict(resolved[key])
        return {
            "uses": config.pop("uses", key),
            "key": key,
            "config": config,
            "model": resolved["model"],
            "data": resolved["data"],
            "training": {k: v for k, v in resolved["training"].items() if k not in _NOT_DECIDING},
            "exits": resolved["exits"],
            "seed": resolved["seed"],
        }


@dataclass
class StageContext:
    """What a stage is given.

    Attributes:
        key: the stage's key in the recipe.
        folder: the stage's own folder in the run.
        run_folder: the run's folder.
        recipe: validated; ``recipe.config(key)`` is this stage's configuration.
        task: encoded splits.
        tokenizer: saved beside every model.
        models: role -> folder of a saved model: ``"model"`` is the one worked on, ``"original"`` the dense
            fine-tuned one, ``"assistant"`` the teaching assistant.
        metrics: where measurements go.
        cache_folder: where teachers' answers are kept, for the run's other stages too.
        computing: how the run computes; ``None``: what there is now decides, each time.
        found: the stage as it lay in the run; ``None``: nothing of it did.
        digests: role -> digest of the model that has it.
        published: files and folders of the run that the stage wrote beside its models.
    """

    key: str
    folder: Path
    run_folder: Path
    recipe: Recipe
    task: EncodedTask
    tokenizer: PreTrainedTokenizerBase
    models: dict[str, Path]
    metrics: MetricsLog
    cache_folder: Path
    computing: Computing | None = None
    found: Found | None = None
    digests: dict[str, str] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    published: list[Path] = field(default_factory=list)

    @property
    def training(self) -> TrainingConfig:
        """The recipe's shared training settings."""
        return self.recipe.training

    def seed(self, *purpose: str | int) -> int:
        """A seed for one purpose of this stage, from the recipe's seed alone: 0..2**63-1."""
        return derive_seed(self.recipe.seed, self.key, *purpose)

    def device(self) -> torch.device:
        """Where models run."""
        from accelerate import PartialState

        return PartialState().device

    def load(self, role: str) -> MultiExitForSequenceClassification:
        """The model that has a role, from its folder, in evaluation mode, on the device.

        Raises:
            RecipeError: no stage before this one gives it.
        """
        if role not in self.models:
            raise RecipeError(
                f"stages: {self.key} needs the {role} model, and no stage before it gives one",
                f"models there are: {', '.join(self.models) or 'none'}",
            )
        return load_model(self.models[role], self.device())

    def part(
        self, name: str, make: Callable[[], tuple[Any, dict[str, Any]]]
    ) -> tuple[MultiExitForSequenceClassification, dict[str, Any]]:
        """A part of the stage that is not made twice: the model that ``make`` gave, and its record.

        The model is read back from its folder whether it was made now or before the run was stopped. Parts
        are removed once the stage is done.

        Args:
            name: of the part, a folder name.
            make: gives the model and what there is to remember of it, as plain JSON values.
        """
        if name not in self.parts():
            model, record = make()

            def remember(new: Path) -> None:
                write_json(new / RECORD, record)
                seal(new)

            save_model(model, self.folder / "parts" / name, None, remember)
        return self.read_part(name)

    def read_part(self, name: str) -> tuple[MultiExitForSequenceClassification, dict[str, Any]]:
        """A part that was made, and its record."""
        folder = self.folder / "parts" / name
        return load_model(folder, self.device()), json.loads((folder / RECORD).read_text("utf-8"))

    def parts(self) -> list[str]:
        """Names of the parts that were made and not removed, sorted; those that are damaged are removed."""
        from accelerate import PartialState

        state, folder = PartialState(), self.folder / "parts"
        state.wait_for_everyone()
        # A name with a dot in front is of one that is being written.
        names = sorted(p.name for p in folder.iterdir() if p.name[0] != ".") if folder.is_dir() else []
        bad = {name: why for name in names if (why := broken(folder / name)) is not None}
        state.wait_for_everyone()
        for name, why in bad.items() if state.is_main_process else ():
            logger.warning("the part %s is made again: %s", name, why)
            shutil.rmtree(folder / name)
        state.wait_for_everyone()
        return [name for name in names if name not in bad]

    def clean_parts(self, *names: str) -> None:
        """Remove parts that are not needed any more."""
        from accelerate import PartialState

        if PartialState().is_main_process:
            for name in names:
                folder = self.folder / "parts" / name
                # Half a removal must not be taken for a part.
                shutil.rmtree(folder.rename(folder.with_name(f".{name}")))

    def publish(self, model: MultiExitForSequenceClassification, *roles: str) -> Path:
        """Save a model in the stage's folder, atomically, for the stages behind: it takes these roles.

        What was shown of its exit policy was shown of the weights before, and is not kept.
        """
        folder = self.folder / roles[0]
        model.config.exit_guarantee = None
        self.save(model, folder)
        self.models.update(dict.fromkeys(roles, folder))
        return folder

    def save(self, model: MultiExitForSequenceClassification, folder: Path, extra: Any = None) -> None:
        """Save a model and the tokenizer in place of what an earlier making left there, damaged or not.

        Args:
            model: the model.
            folder: of the run or the stage, for this model alone.
            extra: called with the folder before it takes its name.
        """
        from accelerate import PartialState

        # Else saving would take it for somebody's own folder.
        if PartialState().is_main_process and _is_broken_model(folder):
            shutil.rmtree(folder)
        save_model(model, folder, self.tokenizer, extra)

    def keeps(self, folder: Path) -> bool:
        """Whether the stage is made again, and what it published in a folder is whole: it may stay."""
        return self.found is not None and self.found.keeps(folder.relative_to(self.run_folder).as_posix())


def load_model(folder: Path, device: torch.device) -> MultiExitForSequenceClassification:
    """A model from its folder on a device, its weights in memory of their own.

    Loaded tensors may lie in a mapped file at odd addresses, where matrix products can round differently:
    a run that went on without a break and one that was resumed must compute the same bits.
    """
    from .. import checkpoints

    model: Any = checkpoints.load(folder).to(device)
    for tensor in [*model.parameters(), *model.buffers()]:
        tensor.data = tensor.data.clone()
    return cast("MultiExitForSequenceClassification", model)


def save_model(
    model: MultiExitForSequenceClassification,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase | None,
    extra: Any = None,
) -> None:
    """Save a model atomically, on the main process only; all processes go on together."""
    from accelerate import PartialState

    from .. import checkpoints

    state = PartialState()
    if state.is_main_process:
        folder.parent.mkdir(parents=True, exist_ok=True)
        checkpoints.save(model, folder, tokenizer, extra)
    state.wait_for_everyone()


def _is_broken_model(folder: Path) -> bool:
    """Whether a folder holds a model without a configuration that can be read."""
    if not folder.is_dir() or not any(folder.glob("*.safetensors")):
        return False
    try:
        return not isinstance(json.loads((folder / "config.json").read_bytes()), dict)
    except (OSError, ValueError, RecursionError):
        return True


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A seed that depends on ``seed`` and on what it is for: 0..2**63-1."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
