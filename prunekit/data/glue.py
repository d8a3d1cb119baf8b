"""What is known of the GLUE tasks (Wang et al. 2019, https://gluebenchmark.com) before any data is read."""

from __future__ import annotations

from dataclasses import dataclass

HUB_NAME = "nyu-mll/glue"


@dataclass(frozen=True)
class GlueTask:
    """Columns, label order and metrics of one GLUE task; the names are those of the hub's ``nyu-mll/glue``.

    GLUE keeps the labels of its test split to itself, so what is reported everywhere, and here called
    ``test``, is the hub's validation split.
    """

    text: str
    text_pair: str | None
    label_names: tuple[str, ...]
    metrics: tuple[str, ...] = ("accuracy",)
    test_split: str = "validation"


_NLI = ("entailment", "not_entailment")
_DUPLICATE = ("not_duplicate", "duplicate")

GLUE_TASKS: dict[str, GlueTask] = {
    "cola": GlueTask("sentence", None, ("unacceptable", "acceptable"), ("matthews", "accuracy")),
    "mnli": GlueTask(
        "premise", "hypothesis", ("entailment", "neutral", "contradiction"), test_split="validation_matched"
    ),
    "mrpc": GlueTask("sentence1", "sentence2", ("not_equivalent", "equivalent"), ("f1", "accuracy")),
    "qnli": GlueTask("question", "sentence", _NLI),
    "qqp": GlueTask("question1", "question2", _DUPLICATE, ("f1", "accuracy")),
    "rte": GlueTask("sentence1", "sentence2", _NLI),
    "sst2": GlueTask("sentence", None, ("negative", "positive")),
    "wnli": GlueTask("sentence1", "sentence2", ("not_entailment", "entailment")),
}
