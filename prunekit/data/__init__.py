"""Tasks and where their examples come from, the embedded one included."""

from .augmentation import NO_LABEL, AugmentationConfig, Examples, augmented, near_tokens
from .config import DataConfig
from .encoding import EncodedTask, check_text, collator, encode, encode_examples, word_tokenizer
from .glue import GLUE_TASKS
from .metrics import METRICS, check_metrics, score
from .overlap import texts_of
from .tasks import TaskData, load_examples, load_task

__all__ = [
    "GLUE_TASKS",
    "METRICS",
    "NO_LABEL",
    "AugmentationConfig",
    "DataConfig",
    "EncodedTask",
    "Examples",
    "TaskData",
    "augmented",
    "check_metrics",
    "check_text",
    "collator",
    "encode",
    "encode_examples",
    "load_examples",
    "load_task",
    "near_tokens",
    "score",
    "texts_of",
    "word_tokenizer",
]
