"""Channels of any module, through torch-pruning's dependency graph."""

from __future__ import annotations

import copy
import fnmatch
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UnsupportedModelError
from ..groups import Gate, Group, Slice
from ..modes import evaluating
from . import register
from .base import Granularity
from .channel_graph import ChannelGraph, Excluded, Part, call, shapes
from .time_limit import run_within

logger = logging.getLogger(__name__)


class ChannelGroup(Group):
    """Channels that convolutions or linear layers make together, with all that reads or scales them.

    Args:
        graph: of the model; shared by all its groups.
        part: one of its parts.
        example_inputs: the inputs that the model was traced with.
    """

    def __init__(self, graph: ChannelGraph, part: Part, example_inputs: Any) -> None:
        self._graph, self._part, self._version = graph, part, -1
        self.example_inputs = example_inputs
        super().__init__(part.name, "channels", part.units.shape[0])

    @property
    def slices(self) -> tuple[Slice, ...]:
        """Parameters of the channels; positions move as other groups are slimmed, and are read anew."""
        self._refresh()
        return self._slices

    @slices.setter
    def slices(self, value: Sequence[Slice]) -> None:
        self._slices = tuple(value)

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The inputs of all layers that read the channels: without them there, the channels are gone."""
        self._refresh()
        return self._gates

    @gates.setter
    def gates(self, value: Sequence[Gate]) -> None:
        self._gates = tuple(value)

    def keep(self, indices: Tensor) -> None:
        indices = self.checked(indices)
        if indices.numel() == self.size:
            return
        with preserved(self._graph.model):
            self._graph.keep(self._part, indices)
        self.size = indices.numel()

    def _refresh(self) -> None:
        if self._version != self._graph.version:
            self._version = self._graph.version
            self._slices, self._gates = self._graph.describe(self._part)


@register("channels")
class Channels(Granularity):
    """Output channels of convolutions and linear layers of any module torch-pruning can trace.

    Coupled layers (residual sums, norms, what reads the channels) come from torch-pruning's dependency graph
    (Fang et al., "DepGraph: Towards Any Structural Pruning", 2023), and so does the cutting. Left out are
    what the model returns, what ``ignore`` names, and what cannot be narrowed: each candidate is tried on a
    copy of the model first, which must still run and give the same shapes. Known transformer families have
    granularities of their own (``heads``, ``neurons``), which need no tracing.

    Args:
        example_inputs: arguments of one forward call: a tensor, a tuple, or a mapping of keywords.
        ignore: modules, or patterns of their names (``"stem.*"``), whose output channels stay.
        time_limit: seconds that tracing may take; it does not end on some models.

    Attributes:
        excluded: after :meth:`groups`: name of the layer -> why its channels are left out.
    """

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
        try:
            with preserved(model):
                graph, parts = run_within(self.time_limit, lambda: self._find(model, ignored))
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
        return [ChannelGroup(graph, part, self.example_inputs) for part in parts]

    def _find(self, model: nn.Module, ignored: Sequence[str]) -> tuple[ChannelGraph, list[Part]]:
        """Try everything on a copy, then trace the model itself, which stays as it is."""
        with torch.enable_grad():
            self.excluded = {}
            usable = set(self._tried(model, ignored))
            graph = ChannelGraph(model, self.example_inputs)
            parts = [p for p in graph.parts(ignored) if isinstance(p, Part) and p.name in usable]
        return graph, parts

    def _tried(self, model: nn.Module, ignored: Sequence[str]) -> Iterator[str]:
        """Names of parts that a copy of the model can lose a unit of, and still run."""
        trial = ChannelGraph(copy.deepcopy(model), self.example_inputs)
        expected = shapes(call(trial.model, self.example_inputs))
        for part in list(trial.parts(ignored)):
            if isinstance(part, Excluded):
                self.excluded[part.name] = part.reason
                continue
            reason = _failure(trial, part, self.example_inputs, expected)
            if reason is None:
                yield part.name
            else:
                self.excluded[part.name] = reason
                trial = ChannelGraph(copy.deepcopy(model), self.example_inputs)

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


def _failure(
    trial: ChannelGraph, part: Part, example_inputs: Any, expected: list[tuple[int, ...]]
) -> str | None:
    """Why the model does not run without one unit of the part; ``None`` if it does."""
    try:
        trial.keep(Part(part.name, part.units), torch.arange(part.units.shape[0] - 1))
        with torch.no_grad():
            found = shapes(call(trial.model, example_inputs))
    except Exception as error:
        return f"without one of them the model fails ({type(error).__name__}: {error})"
    return None if found == expected else f"without one of them the model's output is {found}, not {expected}"


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and all parameters requiring gradients, for tracing and cutting; then as it was."""
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    try:
        for parameter in model.parameters():
            # torch-pruning follows the autograd graph, which frozen parameters do not make.
            parameter.requires_grad_(parameter.is_floating_point() or parameter.is_complex())
        with evaluating(model):
            yield
    finally:
        # By name: cutting puts new parameters in the place of the old ones.
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(flags[name])
