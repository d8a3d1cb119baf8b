"""A configuration as one module of a model sees it, where that reads its own sizes from there."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn


class ConfigView:
    """A configuration with some values of a module's own; all else is read from, and written to, the model's.

    Some families read the number of heads from the configuration in every forward call. Once layers differ,
    each needs a number of its own.

    Args:
        config: the model's.
    """

    def __init__(self, config: Any) -> None:
        self.__dict__.update(config=config, overrides={})

    @staticmethod
    def of(module: nn.Module) -> ConfigView:
        """The view that a module has in place of its ``config``; made where it has none."""
        if not isinstance(module.config, ConfigView):
            module.config = ConfigView(module.config)  # type: ignore[assignment]
        return module.config  # type: ignore[return-value]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        overrides: dict[str, int] = self.__dict__["overrides"]
        return overrides[name] if name in overrides else getattr(self.__dict__["config"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__dict__["config"], name, value)

    def __deepcopy__(self, memo: dict[int, Any]) -> ConfigView:
        new = ConfigView(copy.deepcopy(self.__dict__["config"], memo))
        new.__dict__["overrides"].update(self.__dict__["overrides"])
        return new

    def __reduce__(self) -> Any:
        return _restored, (self.__dict__["config"], self.__dict__["overrides"])


def _restored(config: Any, overrides: dict[str, int]) -> ConfigView:
    view = ConfigView(config)
    view.__dict__["overrides"].update(overrides)
    return view
