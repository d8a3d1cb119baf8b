"""Settings that all training stages share: the ``training:`` part of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..settings import Settings

# Of stages that train exits together with what lies under them.
ExitsLearningRate = Annotated[
    float | None,
    Field(
        gt=0,
        description="of the exits, which begin with random weights; default: learning_rate",
    ),
]


class TrainingConfig(Settings):
    """How models are trained; what differs from stage to stage (epochs, learning rate) is the stage's own."""

    batch_size: int = Field(
        32, ge=1, le=1_000_000, description="examples of an optimizer step, on each device"
    )
    eval_batch_size: int = Field(
        64, ge=1, le=1_000_000, description="examples of a batch when nothing is trained"
    )
    max_length: int = Field(128, ge=3, le=10_000_000, description="tokens of an example; longer ones are cut")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="bfloat16 (autocast), float32, or auto: bfloat16 where the hardware is quicker in it "
        "and, on a processor, the model's layers are wide enough to gain by it",
    )
    threads: int | None = Field(
        None, ge=1, le=1_024, description="processor threads; PyTorch's choice when omitted"
    )
    weight_decay: float = Field(0.01, ge=0, description="AdamW's, not on biases and layer norms")
    warmup_ratio: float = Field(
        0.1,
        ge=0,
        le=1,
        description="part of the steps in which the learning rate rises; then it falls to zero",
    )
    max_grad_norm: float = Field(1.0, ge=0, description="gradients are clipped to this norm; 0: not at all")
    gradient_accumulation: int = Field(
        1, ge=1, le=1_000_000, description="batches that make one optimizer step"
    )
    group_by_length: Literal["auto", "on", "off"] = Field(
        "auto",
        description="batches of examples of similar length; auto: where that spares a tenth of the tokens",
    )
    checkpoint_seconds: float = Field(
        120.0, ge=0, description="write a checkpoint, from which a killed run goes on, about this often"
    )
