"""How exits are laid out: in a recipe, and in ``config.json``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from transformers import AutoConfig, PretrainedConfig

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
    reads: Reads = Field("first", description="first token, mean of the unpadded tokens, or learned pooling")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout before an exit's classifier")


class MultiExitConfig(PretrainedConfig):
    """Configuration of :class:`~prunekit.exits.MultiExitForSequenceClassification`.

    Args:
        backbone: configuration of the original model, whole.
        shape: sizes of the slimmed backbone (``ModelShape.to_dict()``), ``None`` for the original's.
        exit_layers: layers with an exit, counted from 1, ascending; the last one ends the model.
        exit_head: name of an exit head (``prunekit.exits.heads``).
        exit_reads, exit_dropout: see :class:`~prunekit.exits.heads.ExitHead`.
        exit_certainty: whether the exits say how sure they are that they are right, see
            :class:`~prunekit.exits.certainty.ExitCertainty`.
        exit_policy: name and arguments of the policy used at inference; ``None``: all layers, always.
        exit_guarantee: what was shown of that policy, see :class:`~prunekit.calibration.Guarantee`.
    """

    model_type = "prunekit_multi_exit"
    sub_configs = {"backbone": AutoConfig}  # noqa: RUF012 - transformers reads it as a plain class attribute

    def __init__(
        self,
        backbone: dict[str, Any] | PretrainedConfig | None = None,
        shape: dict[str, Any] | None = None,
        exit_layers: list[int] | None = None,
        exit_head: str = "linear",
        exit_reads: Reads = "first",
        exit_dropout: float = 0.1,
        exit_certainty: bool = False,
        exit_policy: dict[str, Any] | None = None,
        exit_guarantee: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(backbone, dict):
            backbone = AutoConfig.for_model(**backbone)
        self.backbone: Any = backbone
        self.shape = shape
        self.exit_layers = list(exit_layers or [])
        self.exit_head = exit_head
        self.exit_reads = exit_reads
        self.exit_dropout = exit_dropout
        self.exit_certainty = exit_certainty
        self.exit_policy = exit_policy
        self.exit_guarantee = exit_guarantee
        super().__init__(**kwargs)

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
