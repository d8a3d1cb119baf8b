"""Channels of any module, through torch-pruning's dependency graph."""

from __future__ import annotations

import copy
import fnmatch
import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..errors import UnsupportedModelError
from ..groups import Group, SlicedGroup
from . import register
from .base import Granularity
from .channel_check import Checker
from .channel_graph import ChannelGraph, Excluded, Part
from .time_limit import run_within

logger = logging.getLogger(__name__)


class ChannelGroup(SlicedGroup):
    """Channels that convolutions or linear layers make together, with all that reads or scales them.

    Its gates are the inputs of all layers that read the channels: without them there, the channels are gone.

    Attributes:
        example_inputs: the inputs that the model was traced with.
    """

    def __init__(self, part: Part, example_inputs: Any = None) -> None:
        super().__init__(
            part.name, "channels", part.size, gates=part.gates, slices=part.slices, followers=part.followers
        )
        self.example_inputs = example_inputs


@register("channels")
class Channels(Granularity):
    """Output channels of convolutions and linear layers of any module torch-pruning can trace.

    Coupled layers (residual sums, norms, what reads the channels) come from torch-pruning's dependency graph
    (Fang et al., "DepGraph: Towards Any Structural Pruning", 2023). Left out are what the model returns, what
    ``ignore`` names, and what cannot be narrowed: candidates are tried on a copy of the model first, which,
    without some of their units, must give what it gives with them at zero (and out of the norms), twice in
    a row. Known transformer families have granularities of their own (``heads``, ``neurons``), which need no
    tracing and go together with this one: what they own is left out here.

    Args:
        example_inputs: arguments of one forward call: a tensor, a tuple, or a mapping of keywords.
        ignore: modules, or patterns of their names (``"stem.*"``), whose output channels stay.
        time_limit: seconds that tracing may take; it does not end on some models.

    Attributes:
        excluded: after :meth:`groups`: name of the layer -> why its channels are left out.
    """

    gives_way = True

    def __init__(
        self,
        example_inputs: Any = None,
        ignore: Sequence[nn.Module | str] = (),
        time_limit: float = 60.0,
    ) -> None:
        self.example_inputs = example_inputs
        self.ignore = (ignore,) if isinstance(ignore, nn.Module | str) else tuple(ignore)
        self.time_limit = time_limit
        self.excluded: dict[str, str] = {}

    def groups(self, model: nn.Module) -> list[Group]:
        """As in :class:`Granularity`, in the order of the modules.

        Raises:
            UnsupportedModelError: no ``example_inputs``, the model cannot be traced, not within the time
                limit, or nothing can be removed.
        """
        if self.example_inputs is None:
            raise UnsupportedModelError(
                "the granularity 'channels' traces the model and needs example_inputs",
                "e.g. Channels(example_inputs=torch.randn(1, 3, 32, 32))",
            )
        ignored = self._ignored(model)
        self.excluded = {}
        try:
            parts = run_within(self.time_limit, lambda: self._find(model, ignored))
        except TimeoutError as error:
            raise UnsupportedModelError(
                f"tracing {type(model).__name__} with torch-pruning did not end within {self.time_limit:g} s",
                "a transformer of a known family takes 'heads' and 'neurons', which need no tracing; "
                "for others, raise time_limit",
            ) from error
        except Exception as error:
            raise UnsupportedModelError(
                f"torch-pruning cannot trace {type(model).__name__}: {type(error).__name__}: {error}",
                "check that model(example_inputs) runs and returns tensors that depend on its parameters",
            ) from error
        for name, reason in self.excluded.items():
            logger.info("channels of %s stay: %s", name, reason)
        if not parts:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self.excluded.items())
            raise UnsupportedModelError(
                f"{type(model).__name__} has no channels that can be removed ({reasons or 'no layers'})"
            )
        return [ChannelGroup(part, self.example_inputs) for part in parts]

    def _find(self, model: nn.Module, ignored: Sequence[str]) -> list[Part]:
        """Everything is traced and tried on copies: the model itself is not run."""
        twin = copy.deepcopy(model).eval()
        for parameter in twin.parameters():
            # torch-pruning follows the autograd graph, which frozen parameters do not make.
            parameter.requires_grad_(parameter.is_floating_point() or parameter.is_complex())
        with torch.enable_grad():
            found = list(ChannelGraph(twin, self.example_inputs).parts(ignored))
        self.excluded = {part.name: part.reason for part in found if isinstance(part, Excluded)}
        parts = {part.name: part for part in found if isinstance(part, Part)}
        checker = Checker(twin, self.example_inputs)
        usable = {group.name for group in checker.usable([ChannelGroup(p) for p in parts.values()])}
        self.excluded |= checker.reasons
        originals = dict(zip(twin.modules(), model.modules(), strict=True))
        return [part.moved(originals) for part in parts.values() if part.name in usable]

    def _ignored(self, model: nn.Module) -> list[str]:
        """Names of the modules in ``ignore``, and of those inside them."""
        names = dict(model.named_modules())
        found: list[str] = []
        for item in self.ignore:
            if isinstance(item, str):
                matches = [n for n in names if fnmatch.fnmatchcase(n, item)]
            else:
                matches = [n for n, module in names.items() if module is item]
            if not matches:
                raise UnsupportedModelError(
                    f"ignore: {item!r} is no module of {type(model).__name__}",
                    "give a module, or a name or pattern as in model.named_modules()",
                )
            found.extend(n for m in matches for n in names if n == m or n.startswith(f"{m}."))
        return found
