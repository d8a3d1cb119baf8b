"""The ``data:`` part of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from ..settings import Settings
from ..text import has_surrogates
from .glue import GLUE_TASKS

REVIEWS = "reviews"
CUSTOM = "custom"

MetricName = Literal["accuracy", "f1", "f1_macro", "matthews"]
SplitName = Literal["train", "validation", "test"]

_REGRESSION = ("stsb", "sts-b")
_SIZES = ("train_size", "validation_size", "test_size", "calibration_size")
# Written in about a minute; the grammar has few more sentences.
MOST_REVIEWS = 500_000


class DataConfig(Settings):
    """Which examples to train, choose and report on.

    Three kinds of source: the embedded task (``task: reviews``, generated, no network), files
    (``train_file`` and friends), or a dataset of the Hugging Face hub (a GLUE task without files, or
    ``hub_name``).
    """

    task: str = Field(
        REVIEWS,
        min_length=1,
        description="'reviews' (embedded, generated from the seed), a GLUE task "
        f"({', '.join(GLUE_TASKS)}), or a name of your own, such as 'custom', for files or a hub dataset",
    )
    train_file: str | None = Field(
        None, description="training examples: a .csv, .tsv, .json, .jsonl or .parquet file"
    )
    validation_file: str | None = Field(
        None, description="examples that choose checkpoints; held out of the training file when omitted"
    )
    test_file: str | None = Field(None, description="examples that are reported, used for nothing else")
    text: str | None = Field(None, description="column of the text; recognised by its name when omitted")
    text_pair: str | None = Field(None, description="column of the second text, for tasks on pairs")
    label: str | None = Field(None, description="column of the label; 'label' or 'labels' when omitted")
    label_names: list[str] | None = Field(
        None,
        min_length=2,
        description="label names in the order of their numbers; when omitted, GLUE's, or the model's own if "
        "it has all of the data's, or those of the training data, sorted",
    )
    metrics: list[MetricName] | None = Field(
        None, min_length=1, description="scores to report; the first chooses checkpoints (default: accuracy)"
    )
    validation_fraction: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="part of the training examples held out, stratified, when there is no validation data",
    )
    test_fraction: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="part of the training file held out as test data when there is no test_file",
    )
    train_size: int | None = Field(
        None,
        ge=2,
        le=1_000_000_000,
        description="train on at most this many examples, drawn at random; what is left over validates",
    )
    validation_size: int | None = Field(
        None, ge=1, le=1_000_000_000, description="validate on at most this many examples"
    )
    test_size: int | None = Field(
        None, ge=1, le=1_000_000_000, description="report on at most this many examples"
    )
    calibration_size: int = Field(
        0,
        ge=0,
        le=1_000_000_000,
        description="hold out this many rows of the training data more, for the stage calibrate alone: a "
        "plain sample, drawn first, a text that comes often included as often; 0: none, it takes the "
        "validation examples",
    )
    hub_name: str | None = Field(None, description="name of a dataset on the Hugging Face hub")
    hub_config: str | None = Field(None, description="configuration (subset) of the hub dataset")
    hub_splits: dict[SplitName, str] = Field(
        default_factory=dict,
        description="the hub's names for 'train', 'validation' and 'test', where they differ; without a "
        "validation split, validation examples are held out of train",
    )
    seed: int | None = Field(
        None,
        ge=0,
        description="seed of the generated examples, of subsets and held-out parts; the recipe's seed when "
        "omitted (set it to compare several training seeds on the same examples)",
    )

    @field_validator("task")
    @classmethod
    def _no_regression(cls, task: str) -> str:
        if task.lower() in _REGRESSION:
            raise ValueError(
                f"{task} is a regression task (a similarity score), prunekit classifies; "
                f"take one of {', '.join(GLUE_TASKS)}, or files with class labels"
            )
        return task.lower() if task.lower() in GLUE_TASKS else task

    @field_validator("label_names")
    @classmethod
    def _distinct(cls, names: list[str] | None) -> list[str] | None:
        if names is None:
            return None
        names = [name.strip() for name in names]
        if not all(names) or any(map(has_surrogates, names)):
            raise ValueError(f"label names must not be empty or hold half a character: {names}")
        if len(set(names)) != len(names):
            raise ValueError(f"label names must differ from each other: {names}")
        return names

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        if self.from_files and self.hub_name is not None:
            raise ValueError("train_file and hub_name are both given: keep the one to read from")
        if not self.from_files:
            for name in ("validation_file", "test_file"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is given without train_file: give train_file as well")
        elif self.test_file is None and self.test_fraction is None:
            raise ValueError(
                "train_file is given without test_file: give test_file, or test_fraction (such as 0.1) "
                "to hold test examples out of the training file"
            )
        if self.test_file is not None and self.test_fraction is not None:
            raise ValueError("test_file and test_fraction are both given: keep one")
        if self.task == REVIEWS:
            self._only_generated()
        return self

    def _only_generated(self) -> None:
        foreign = ("train_file", "text", "text_pair", "label", "label_names", "test_fraction", "hub_name")
        for name in foreign:
            if getattr(self, name) is not None:
                raise ValueError(
                    f"{name} has no meaning for the task 'reviews', which is generated: "
                    f"set task to a GLUE name ({', '.join(GLUE_TASKS)}) or to 'custom'"
                )
        asked = {name: getattr(self, name) or 0 for name in _SIZES}
        if sum(asked.values()) > MOST_REVIEWS:
            largest = max(asked, key=lambda name: asked[name])
            raise ValueError(
                f"{largest}: {sum(asked.values()):,} examples are to be generated in all, which would take "
                f"more than a minute: at most {MOST_REVIEWS:,}"
            )

    @property
    def from_files(self) -> bool:
        """Whether examples come from local files."""
        return self.train_file is not None
