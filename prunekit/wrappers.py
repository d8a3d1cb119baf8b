"""Models inside of what others put around them."""

from __future__ import annotations

from typing import Any

from torch import nn

from .errors import UnsupportedModelError


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of torch.compile, DataParallel or DistributedDataParallel; others as they are.

    Raises:
        UnsupportedModelError: a PEFT model, whose adapters are beside the weights.
    """
    inner: Any = model
    if hasattr(model, "_orig_mod"):
        return unwrapped(inner._orig_mod)
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return unwrapped(model.module)
    if hasattr(model, "merge_and_unload") or any(hasattr(module, "lora_A") for module in model.modules()):
        raise UnsupportedModelError(
            f"{type(model).__name__} has adapters of PEFT beside its weights",
            "merge them first: model = model.merge_and_unload()",
        )
    return model


def prunable(model: nn.Module) -> nn.Module:
    """:func:`unwrapped`, of a model that is going to be cut.

    Raises:
        UnsupportedModelError: as there, or the wrapper holds on to the parameters that it was made with.
    """
    if isinstance(model, nn.parallel.DistributedDataParallel):
        raise UnsupportedModelError(
            "DistributedDataParallel holds on to the parameters it was made with, so its model cannot be cut",
            "prune its .module, then wrap it again",
        )
    return unwrapped(model)
