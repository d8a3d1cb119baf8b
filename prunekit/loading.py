"""How ``transformers`` loads pruned models: as it loads any other, with the recorded sizes.

``transformers`` keeps one place where a model may be changed between the moment it is built and the moment
its weights are read: the loading methods of quantised models. Here one is registered under the name
``prunekit``. It narrows the model (see :mod:`prunekit.sizes`) and then takes every mark of quantisation off
again, so that training, ``.half()`` and adapters treat it as any other.
"""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel
from transformers.quantizers.auto import (
    AUTO_QUANTIZER_MAPPING,
    register_quantization_config,
    register_quantizer,
)
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from .architectures import architecture_of
from .errors import CheckpointError
from .sizes import KEY, METHOD, apply


class PrunedSizes(QuantizationConfigMixin):
    """``quantization_config`` of a pruned model.

    Args:
        sizes, attributes: see :mod:`prunekit.sizes`.
    """

    def __init__(
        self,
        sizes: dict[str, list[int | None]] | None = None,
        attributes: dict[str, dict[str, int]] | None = None,
        quant_method: str = METHOD,
        **others: Any,
    ) -> None:
        self.quant_method = METHOD  # type: ignore[assignment]
        self.sizes = sizes or {}
        self.attributes = attributes or {}


# transformers names the class where a second method is asked for: the name says what to do.
PrunedSizes.__name__ = (
    "PrunedSizes (prunekit's record of a pruned model; to quantise it at load call "
    "prunekit.load(folder, quantization_config=...))"
)


class PrunedLoader(HfQuantizer):
    """Narrows a fresh model before its weights are loaded. Nothing is quantised."""

    requires_calibration = False

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> None:
        _refuse_random_language(model)
        apply(model, self.quantization_config.to_dict())

    def postprocess_model(self, model: PreTrainedModel, **kwargs: Any) -> None:
        """Leave no mark of quantisation, and the record as plain numbers in the configuration."""
        for mark in ("hf_quantizer", "quantization_method", "is_quantized"):
            if mark in vars(model):
                delattr(model, mark)
        setattr(model.config, KEY, self.quantization_config.to_dict())

    def is_serializable(self, **kwargs: Any) -> bool:
        """It is: as any other model."""
        return True

    @property
    def is_trainable(self) -> bool:
        """It is: as any other model."""
        return True

    @property
    def is_compileable(self) -> bool:
        """It is: as any other model."""
        return True


def _refuse_random_language(model: PreTrainedModel) -> None:
    """Refuse to make a language model of an encoder that was saved with another task's head.

    Another head is a good beginning for training, but text from a head that nobody has trained, on layers
    that see what comes after a word, is noise.

    Raises:
        CheckpointError: naming both classes.
    """
    saved = next(iter(model.config.architectures or ()), "")
    is_other_task = "For" in saved and not any(part in saved for part in ("LM", "PreTraining", "Generation"))
    if not is_other_task or not model.can_generate():
        return
    if not (getattr(model.config, "is_encoder_decoder", False) or architecture_of(model).causal):
        raise CheckpointError(
            f"the folder holds a {saved}, which has no head for language, and {type(model).__name__} "
            "would have a random one",
            "load it with the auto class of its task, or take a folder with a language model",
        )


if METHOD not in AUTO_QUANTIZER_MAPPING:
    register_quantization_config(METHOD)(PrunedSizes)
    register_quantizer(METHOD)(PrunedLoader)
