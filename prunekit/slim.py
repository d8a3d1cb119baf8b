"""Folders of pruned models as earlier versions wrote them: ``config.json`` of type ``prunekit_slim``.

They hold the sizes of layers in the configuration, around the model's own. They are still read, and what is
read is saved in the present form (:mod:`prunekit.sizes`).
"""

from __future__ import annotations

from typing import Any

import transformers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)

from .architectures import ModelShape, reshape
from .errors import CheckpointError
from .sizes import record


class SlimConfig(PretrainedConfig):
    """Configuration of a slimmed model, as earlier versions wrote it.

    Args:
        model: configuration of the original model, whole.
        model_class: name of its class in ``transformers``.
        shape: sizes of the slimmed backbone (``ModelShape.to_dict()``).
    """

    model_type = "prunekit_slim"
    sub_configs = {"model": AutoConfig}  # noqa: RUF012 - transformers reads it as a plain class attribute

    def __init__(
        self,
        model: dict[str, Any] | PretrainedConfig | None = None,
        model_class: str | None = None,
        shape: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(model, dict):
            model = AutoConfig.for_model(**model)
        self.model: Any = model
        self.model_class = model_class or ""
        self.shape = shape
        super().__init__(**kwargs)


def _class_of(name: str) -> type[PreTrainedModel]:
    original = getattr(transformers, name, None)
    if not (isinstance(original, type) and issubclass(original, PreTrainedModel)):
        raise CheckpointError(f"config.json names the model class {name!r}, which transformers does not have")
    return original


class SlimLoader:
    """Stands in the auto classes for such folders; gives the original class, slimmed."""

    config_class = SlimConfig

    @classmethod
    def from_pretrained(cls, folder: Any, *args: Any, config: SlimConfig | None = None, **kwargs: Any) -> Any:
        """Load a folder; arguments as in ``PreTrainedModel.from_pretrained``."""
        if config is None:
            config = SlimConfig.from_pretrained(folder)
        if not isinstance(config.model, PretrainedConfig):
            raise CheckpointError(f"config.json: model is {config.model!r}, expected a model's configuration")
        original = _class_of(config.model_class)
        shape = ModelShape.from_dict(config.shape or {})

        class Slim(original):  # type: ignore[valid-type, misc]
            def __init__(self, config: PretrainedConfig, *args: Any, **kwargs: Any) -> None:
                super().__init__(config, *args, **kwargs)
                reshape(self, shape)

        Slim.__name__ = Slim.__qualname__ = original.__name__
        if "attn_implementation" not in kwargs and config._attn_implementation is not None:
            kwargs["attn_implementation"] = config._attn_implementation
        loaded = Slim.from_pretrained(folder, *args, config=config.model, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded  # with output_loading_info
        model.__class__ = original
        record(model)
        return loaded


class SlimSequenceClassifierLoader(SlimLoader):
    """For ``AutoModelForSequenceClassification``."""


class SlimCausalLMLoader(SlimLoader):
    """For ``AutoModelForCausalLM``."""


AutoConfig.register(SlimConfig.model_type, SlimConfig, exist_ok=True)
AutoModel.register(SlimConfig, SlimLoader, exist_ok=True)
AutoModelForSequenceClassification.register(SlimConfig, SlimSequenceClassifierLoader, exist_ok=True)
AutoModelForCausalLM.register(SlimConfig, SlimCausalLMLoader, exist_ok=True)
