"""Checkpoints of ElasticBERT, whose code is not in transformers, as what they are: a BERT.

Liu et al., "Towards Efficient NLP: A Standard Evaluation and A Strong Baseline", NAACL 2022. A BERT that was
pre-trained with a masked language model on every layer, each with a pooler of its own (dense, tanh).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from torch import Tensor, nn
from transformers import BertConfig, BertModel, PreTrainedModel
from transformers.models.bert.modeling_bert import BertPooler

from ..errors import CheckpointError, UnsupportedModelError

logger = logging.getLogger(__name__)
PREFIX = "elasticbert"
# How many of its layers get an exit is the recipe's to say; the rest belongs to old code.
_NOT_BERT = (
    "model_type",
    "max_output_layers",
    "num_output_layers",
    "gradient_checkpointing",
    "position_embedding_type",
)
_NUMBERED = re.compile(rf"(?:{PREFIX}\.)?encoder\.(?:layer|pooler)\.(\d+)\.")
_POOLERS = "exit_poolers"


class _ElasticBert(BertModel):
    """The layout of the file, for transformers' own loading: safetensors or tensors alone, no code."""

    base_model_prefix = PREFIX

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config, add_pooling_layer=False)
        self.encoder.pooler = nn.ModuleList(BertPooler(config) for _ in range(config.num_hidden_layers))
        self.post_init()


class ElasticBertCheckpoint:
    """Reads a folder, or a hub name, in the layout of ``fnlp/elasticbert-base``."""

    def config(self, described: Mapping[str, Any]) -> BertConfig:
        """Its ``config.json`` as BERT's configuration.

        Raises:
            UnsupportedModelError: position embeddings that transformers' BERT does not have.
        """
        positions = described.get("position_embedding_type", "absolute")
        if positions != "absolute":
            raise UnsupportedModelError(
                f"config.json: position_embedding_type is {positions!r}, and BERT's are 'absolute'"
            )
        return BertConfig(**{key: value for key, value in described.items() if key not in _NOT_BERT})

    def load(self, name: str, config: BertConfig, **arguments: Any) -> PreTrainedModel:
        """The checkpoint as transformers' BERT, its poolers beside it for exits that have some.

        Layers behind ``config.num_hidden_layers`` are left out. Heads of pre-training or of a task are
        dropped, with a line in the log.

        Args:
            name: folder, or name on the hub.
            config: what :meth:`config` gave, possibly changed.
            arguments: of ``from_pretrained``.

        Raises:
            CheckpointError: weights are missing, or there are some that an ElasticBERT does not have.
        """
        reading: Any = _ElasticBert.from_pretrained(
            name, config=config, output_loading_info=True, **arguments
        )
        loaded, info = reading
        missing, poolers = set(info["missing_keys"]), {}
        for number, part in enumerate(loaded.encoder.pooler, 1):
            state = dict(part.dense.state_dict())
            keys = {f"encoder.pooler.{number - 1}.dense.{key}" for key in state}
            if keys <= missing:
                missing -= keys  # a checkpoint with exits on some layers only
            else:
                poolers[number] = state
        if missing:
            raise CheckpointError(
                f"the model {name} lacks {_some(sorted(missing))}, which would stay random",
                "its weights do not fit its config.json; copy it again",
            )
        self._check_rest(name, config, info["unexpected_keys"])
        del loaded.encoder.pooler
        loaded.__class__ = BertModel
        setattr(loaded, _POOLERS, poolers)
        return cast("PreTrainedModel", loaded)

    def _check_rest(self, name: str, config: BertConfig, unexpected: Iterable[str]) -> None:
        """What is in the file and not in the model: layers left out, a task's heads, or an error."""
        deeper = {key for key in unexpected if _number(key) >= config.num_hidden_layers}
        rest = set(unexpected) - deeper
        # As transformers has it: a task's model keeps the backbone under its prefix, and heads beside it.
        of_task = any("For" in kind for kind in config.architectures or ())
        heads = {key for key in rest if of_task and not key.startswith(f"{PREFIX}.")}
        if rest - heads:
            raise CheckpointError(
                f"the model {name} holds {_some(sorted(rest - heads))}, which an ElasticBERT does not have",
                "give a checkpoint in the layout of fnlp/elasticbert-base",
            )
        if heads:
            parts = sorted({key.partition(".")[0] for key in heads})
            logger.info("%s: its heads are not used (%s)", name, ", ".join(parts))
        if deeper:
            logger.info("%s: layers behind the first %d are not used", name, config.num_hidden_layers)


def take_poolers(backbone: nn.Module) -> dict[int, dict[str, Tensor]]:
    """Trained poolers that came with a backbone, taken off it: layer (from 1) -> state of its dense layer.

    Empty for nearly every backbone.
    """
    poolers: dict[int, dict[str, Tensor]] = getattr(backbone, _POOLERS, {})
    if poolers:
        delattr(backbone, _POOLERS)
    return poolers


def _number(key: str) -> int:
    """The layer (from 0) that a weight belongs to; -1 for one that no layer has."""
    match = _NUMBERED.match(key)
    return -1 if match is None else int(match[1])


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
