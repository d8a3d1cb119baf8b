"""How exits are laid out: in a recipe, and in ``config.json``."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field
from transformers import AutoConfig, PretrainedConfig

from ..errors import CheckpointError
from ..text import shown
from .heads import HeadName, Reads


class ExitsConfig(BaseModel):
    """Where the exits stand and what they read."""

    model_config = ConfigDict(extra="forbid")

    layers: Literal["all", "last"] | list[int] = Field(
        "all", description="layers with an exit: all, last, or a list counted from 1"
    )
    head: HeadName = Field(
        "linear",
        description="linear: no pooler (the paper's); pooled: a dense layer first; or one of your own",
    )
    reads: Reads = Field(
        "first",
        description="first or last token, mean of the tokens, or learned pooling, padding left out; not the "
        "first token of a causal model, which sees no other",
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout before an exit's classifier")


class MultiExitConfig(PretrainedConfig):
    """Configuration of :class:`~prunekit.exits.MultiExitForSequenceClassification`.

    Args:
        backbone: configuration of the original model, whole.
        shape: sizes of the slimmed backbone (``ModelShape.to_dict()``), ``None`` for the original's.
        exit_layers: layers with an exit, counted from 1, ascending; the last one ends the model.
        exit_head: name of an exit head (``prunekit.exits.heads``).
        exit_reads, exit_dropout: see :class:`~prunekit.exits.heads.ExitHead`.
        exit_norm: whether exits read hidden states through the backbone's final norm, if it has one.
        exit_certainty: whether the exits say how sure they are that they are right, see
            :class:`~prunekit.exits.certainty.ExitCertainty`.
        exit_policy: name and arguments of the policy used at inference; ``None``: all layers, always.
        exit_guarantee: what was shown of that policy, see :class:`~prunekit.calibration.Guarantee`.
    """

    model_type = "prunekit_multi_exit"
    # Transformers reads these as plain class attributes.
    sub_configs = {"backbone": AutoConfig}  # noqa: RUF012
    # Of what the model returns, for its Trainer: predictions are the logits alone.
    keys_to_ignore_at_inference = ["exit_logits", "exit_layer", "hidden_states", "exit_certainty"]  # noqa: RUF012

    def __init__(
        self,
        backbone: dict[str, Any] | PretrainedConfig | None = None,
        shape: dict[str, Any] | None = None,
        exit_layers: list[int] | None = None,
        exit_head: str = "linear",
        exit_reads: Reads = "first",
        exit_dropout: float = 0.1,
        exit_norm: bool = False,
        exit_certainty: bool = False,
        exit_policy: dict[str, Any] | None = None,
        exit_guarantee: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(backbone, dict):
            backbone = AutoConfig.for_model(**backbone)
        self.backbone: Any = backbone
        self.shape = shape
        self.exit_layers = exit_layers or []
        self.exit_head = exit_head
        self.exit_reads = exit_reads
        self.exit_dropout = exit_dropout
        self.exit_norm = exit_norm
        self.exit_certainty = exit_certainty
        self.exit_policy = exit_policy
        self.exit_guarantee = exit_guarantee
        super().__init__(**kwargs)

    def check(self) -> None:
        """Hold the configuration against what it may say: it may come from a file.

        Raises:
            CheckpointError: naming the key that is wrong, and what was expected.
        """
        if not isinstance(self.backbone, PretrainedConfig):
            raise _wrong("backbone", self.backbone, "the configuration of a model of transformers")
        numbers: Any = self.exit_layers
        if not isinstance(numbers, list) or not numbers or not all(type(number) is int for number in numbers):
            raise _wrong("exit_layers", numbers, "a list of layers, counted from 1")
        if numbers != sorted(set(numbers)) or numbers[0] < 1:
            raise _wrong("exit_layers", numbers, "distinct layers, ascending, counted from 1")
        if not isinstance(self.exit_head, str):
            raise _wrong("exit_head", self.exit_head, "the name of an exit head")
        if self.exit_reads not in get_args(Reads):
            raise _wrong("exit_reads", self.exit_reads, f"one of {', '.join(get_args(Reads))}")
        dropout: Any = self.exit_dropout
        if type(dropout) not in (int, float) or not 0 <= dropout < 1:
            raise _wrong("exit_dropout", dropout, "a number from 0 to below 1")
        for key in ("exit_norm", "exit_certainty"):
            if type(getattr(self, key)) is not bool:
                raise _wrong(key, getattr(self, key), "true or false")
        policy: Any = self.exit_policy
        if policy is not None and not (isinstance(policy, dict) and isinstance(policy.get("name"), str)):
            raise _wrong("exit_policy", policy, "null, or a policy's name with its arguments")
        guarantee: Any = self.exit_guarantee
        if guarantee is not None and not _is_guarantee(guarantee):
            raise _wrong("exit_guarantee", guarantee, "null, or what calibrate wrote")
        names: Any = self.id2label
        if not isinstance(names, dict) or set(names) != set(range(len(names))):
            raise _wrong("id2label", names, "a name for every class, counted from 0")
        if not all(isinstance(name, str) for name in names.values()):
            raise _wrong("id2label", names, "names that are texts")

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states."""
        return self.backbone.hidden_size

    @property
    def num_hidden_layers(self) -> int:
        """Layers of the backbone."""
        return self.backbone.num_hidden_layers

    @property
    def max_position_embeddings(self) -> int:
        """Longest input the backbone takes."""
        return self.backbone.max_position_embeddings


def _wrong(key: str, value: Any, expected: str) -> CheckpointError:
    said = shown(repr(value), keep="")
    said = said if len(said) <= 80 else said[:77] + "..."
    return CheckpointError(f"config.json: {key} is {said}, expected {expected}")


def _is_guarantee(value: Any) -> bool:
    """Whether it has what is read of a :class:`~prunekit.calibration.Guarantee`, each of its type."""
    kinds: dict[str, Any] = {
        "policy": (dict, type(None)), "words": str, "source": str, "examples": int,
        "max_drop": (int, float), "confidence": (int, float), "drop": (int, float), "saved": (int, float),
    }  # fmt: skip
    return isinstance(value, dict) and all(
        key in value and isinstance(value[key], kind) for key, kind in kinds.items()
    )
