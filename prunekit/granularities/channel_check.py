"""Whether channels can be removed: on a copy, cutting must give what hiding them gives."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..groups import Gate, SlicedGroup
from ..module_sizes import follow
from .channel_graph import call, shapes, tensors_of

_STEPS = 2


class Checker:
    """Tries groups on copies of a model.

    Args:
        model: in evaluation mode; brought to double precision, where it runs in that: a fault of one channel
            may be small among many.
        example_inputs: arguments of one forward call.

    Attributes:
        reasons: name of a group -> why it cannot be slimmed.
    """

    def __init__(self, model: nn.Module, example_inputs: Any) -> None:
        self.model, self.example_inputs = model, example_inputs
        self.reasons: dict[str, str] = {}
        doubled = _doubled(example_inputs)
        try:
            with torch.no_grad():
                call(copy.deepcopy(model).double(), doubled)
        except Exception:
            return
        model.double()
        self.example_inputs = doubled

    def usable(self, groups: Sequence[SlicedGroup]) -> list[SlicedGroup]:
        """Those of the groups that can be slimmed, together; ``reasons`` says why the others cannot.

        All are tried at once, then halves of them where that fails.
        """
        reason = self.failure(groups)
        if reason is None:
            return list(groups)
        if len(groups) == 1:
            self.reasons[groups[0].name] = reason
            return []
        middle = len(groups) // 2
        good = self.usable(groups[:middle]) + self.usable(groups[middle:])
        if self.failure(good) is None:
            return good
        # Each half is right by itself, but not beside the other.
        together: list[SlicedGroup] = []
        for group in good:
            reason = self.failure([*together, group])
            if reason is None:
                together.append(group)
            else:
                self.reasons[group.name] = reason
        return together

    def failure(self, groups: Sequence[SlicedGroup]) -> str | None:
        """Why the groups cannot be slimmed; ``None`` if they can."""
        if not groups:
            return None
        for random in (True, False):
            try:
                finite, reason = self._compare(groups, random)
            except Exception as error:
                return f"without some of them the model fails ({type(error).__name__}: {error})"
            if finite:
                break
        return reason

    @torch.no_grad()
    def _compare(self, groups: Sequence[SlicedGroup], random: bool) -> tuple[bool, str | None]:
        """Whether the outputs are finite, and why cutting is not hiding, in several steps."""
        model, groups = copy.deepcopy((self.model, list(groups)))
        generator = torch.Generator().manual_seed(0)
        if random:
            _randomize(model, generator)
        finite = True
        for _ in range(_STEPS):
            keeps = [_some(group.size, generator) for group in groups]
            with hidden(groups, keeps):
                expected = self._outputs(model)
            for group, keep in zip(groups, keeps, strict=True):
                group.keep(keep)
            found = self._outputs(model)
            if shapes(found) != shapes(expected):
                return (
                    True,
                    f"without some of them the model's output is {shapes(found)}, not {shapes(expected)}",
                )
            finite = finite and all(bool(t.isfinite().all()) for t in expected if t.is_floating_point())
            if not all(_close(a, b) for a, b in zip(found, expected, strict=True)):
                return finite, "removing some of them changes what the model makes of the others"
        return finite, None

    def _outputs(self, model: nn.Module) -> list[Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return tensors_of(call(model, self.example_inputs))


@contextmanager
def hidden(groups: Sequence[SlicedGroup], keeps: Sequence[Tensor]) -> Iterator[None]:
    """All units but those kept are zero where they are read, and left out of what norms compute."""
    with ExitStack() as hooks:
        norms: dict[nn.Module, Tensor] = {}
        for group, keep in zip(groups, keeps, strict=True):
            gone = torch.ones(group.size, dtype=torch.bool)
            gone[keep] = False
            for gate in group.gates:
                hooks.callback(_hide(gate, gate.places(group.size)[gone].flatten()).remove)
            for piece in group.slices:
                if piece.tensor.dim() == 1 and _computes_across(piece.module):
                    mask = norms.setdefault(piece.module, torch.ones(piece.length, dtype=torch.bool))
                    mask[piece.places(group.size)[gone].flatten()] = False
        for module, mask in norms.items():
            hooks.callback(_narrow(module, mask.nonzero().flatten()).remove)
        yield


def _computes_across(module: nn.Module) -> bool:
    """Whether a module without others inside may compute with all its channels at once, as most norms do."""
    apart = (nn.Linear, nn.Embedding, nn.PReLU, nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase)
    return not isinstance(module, apart) and not list(module.children())


def _hide(gate: Gate, positions: Tensor) -> Any:
    def zero(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (_zeroed(args[0]), *args[1:]), kwargs
        first = next(iter(kwargs))
        return args, {**kwargs, first: _zeroed(kwargs[first])}

    def _zeroed(value: Tensor) -> Tensor:
        return value.index_fill(gate.dim, positions.to(value.device), 0)

    return gate.module.register_forward_pre_hook(zero, with_kwargs=True)


def _narrow(module: nn.Module, stays: Tensor) -> Any:
    """A norm of the channels that stay alone; the others are zero."""
    length = next(module.parameters()).shape[0]
    small = copy.deepcopy(module)
    small._forward_hooks.clear()
    for name, parameter in module.named_parameters():
        if parameter.shape == (length,):
            setattr(small, name, nn.Parameter(parameter[stays.to(parameter.device)]))
    follow(small)

    def compute(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        value = args[0] if args else None
        if not isinstance(value, Tensor) or not isinstance(output, Tensor) or output.shape != value.shape:
            return output
        dims = (1,) if isinstance(module, nn.GroupNorm) else (-1, 1)
        dim = next((d for d in dims if value.dim() > abs(d) - (d < 0) and value.shape[d] == length), None)
        if dim is None:
            return output
        where = stays.to(value.device)
        part = small(value.index_select(dim, where), *args[1:])
        return torch.zeros_like(output).index_copy(dim, where, part)

    return module.register_forward_hook(compute)


def _randomize(model: nn.Module, generator: torch.Generator) -> None:
    """Weights that hide no fault: zeros, as of layers that begin as the identity, would."""
    for parameter in {id(p): p for p in model.parameters()}.values():
        if not parameter.is_floating_point() or parameter.dim() == 0:
            continue
        if parameter.dim() == 1:
            value = torch.rand(parameter.shape, generator=generator) + 0.5
        else:
            fan_in = parameter.numel() / parameter.shape[0]
            value = torch.randn(parameter.shape, generator=generator) / fan_in**0.5
        parameter.copy_(value)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            mean, variance = module.running_mean, module.running_var
            if mean is not None and variance is not None:
                mean.copy_(torch.randn(mean.shape, generator=generator))
                variance.copy_(torch.rand(variance.shape, generator=generator) + 0.5)


def _doubled(inputs: Any) -> Any:
    """Floating-point tensors, in mappings, tuples and lists, in double precision."""
    if isinstance(inputs, Tensor):
        return inputs.double() if inputs.is_floating_point() else inputs
    if isinstance(inputs, Mapping):
        return {key: _doubled(value) for key, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return [_doubled(value) for value in inputs]
    return inputs


def _some(size: int, generator: torch.Generator) -> Tensor:
    """About half of the units, ascending."""
    count = max(1, size // 2)
    return torch.randperm(size, generator=generator)[:count].sort().values


def _close(found: Tensor, expected: Tensor) -> bool:
    if not expected.is_floating_point():
        return True
    tolerance = {torch.float64: 1e-5, torch.float32: 1e-4}.get(expected.dtype, 5e-2)
    found, expected = found.double(), expected.double()
    scale = float(expected.nan_to_num(0, 0, 0).abs().max()) if expected.numel() else 0.0
    return torch.allclose(found, expected, rtol=tolerance, atol=tolerance * scale, equal_nan=True)
