"""Tasks and where their examples come from, the embedded one included."""

from .augmentation import NO_LABEL, AugmentationConfig, Examples, augmented, near_tokens
from .config import DataConfig
from .encoding import EncodedTask, check_text, collator, encode, encode_examples, word_tokenizer
from .glue import GLUE_TASKS
from .metrics import METRICS, check_metrics, score
from .model_names import label_names_of_model
from .opening import check_file, content_of, lines_of, lines_of_stream, text_of
from .overlap import texts_of
from .sources import TABLE_KINDS
from .tasks import TaskData, load_examples, load_task, load_texts

__all__ = [
    "GLUE_TASKS",
    "METRICS",
    "NO_LABEL",
    "TABLE_KINDS",
    "AugmentationConfig",
    "DataConfig",
    "EncodedTask",
    "Examples",
    "TaskData",
    "augmented",
    "check_file",
    "check_metrics",
    "check_text",
    "collator",
    "content_of",
    "encode",
    "encode_examples",
    "label_names_of_model",
    "lines_of",
    "lines_of_stream",
    "load_examples",
    "load_task",
    "load_texts",
    "near_tokens",
    "score",
    "text_of",
    "texts_of",
    "word_tokenizer",
]
