"""Models of families that no adapter names: recognised by their structure, tried out before the first cut."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..errors import UnsupportedModelError, first_line
from ..groups import Gate, SlicedGroup
from .base import Architecture, Place
from .blocks import Kind, child, is_matrix
from .recording import replaced

_HOW = (
    "write an adapter: a subclass of prunekit.architectures.Architecture, see docs/parts.md, and try it with "
    "prunekit.testing.check_architecture"
)
_Reading = tuple[str, dict[str, tuple[str, ...]]]
# Ways of reading an attention, in the order in which they are tried.
_READINGS: tuple[_Reading, ...] = (
    ("blocks", {}),
    ("heads", {}),
    ("blocks", {"widths": ("embed_dim", "hidden_size")}),
    ("blocks", {"reads_config": ("num_attention_heads",)}),
)
# Layouts of models that were tried: the way to read them, or what is wrong.
_TRIED: dict[Any, tuple[_Reading | None, str]] = {}
_NOISE = 1_000_003  # a prime: a matrix filled with it over and over has no two rows alike


class Structure(Architecture):
    """A model that is laid out like others.

    Args:
        backbone: the model; what is found is of its class and configuration.
        fused: how one matrix holds queries, keys and values.
        hints: ``reads_config`` and ``widths``, see :class:`Architecture`.
    """

    def __init__(self, backbone: nn.Module, fused: Any = "blocks", **hints: tuple[str, ...]) -> None:
        self.fused = fused
        self.reads_config, self.widths = hints.get("reads_config", ()), hints.get("widths", ())
        self._paths = tuple(_stack_paths(self, backbone))
        self._verified: dict[Kind, Structure] = {}
        self.causal = any(getattr(module, "is_causal", False) is True for module in backbone.modules())
        self.norm_path = ""
        if self._paths:
            self.norm_path = _final_norm(self.encoder(backbone), self._inside(backbone, self._paths[0]))

    def stacks(self, backbone: nn.Module) -> dict[str, Sequence[nn.Module]]:
        return {path: backbone.get_submodule(path) for path in self._paths}  # type: ignore[misc]

    def uses(self, backbone: nn.Module, tokens: int) -> dict[nn.Module, float]:
        """Of a text.

        Raises:
            UnsupportedModelError: the model reads something else.
        """
        if "input_ids" not in inspect.signature(backbone.forward).parameters:
            raise UnsupportedModelError(
                f"{type(backbone).__name__} is of no known family and reads no texts: how often it "
                "uses its matrices is not known",
                _HOW,
            )
        return super().uses(backbone, tokens)


def recognised(backbone: nn.Module) -> Architecture:
    """What the structure of a model shows.

    Raises:
        UnsupportedModelError: it has no list of layers with an attention or FFN that is understood.
    """
    found = Structure(backbone)
    if not found._paths:
        raise UnsupportedModelError(
            f"{type(backbone).__name__} is of no registered architecture, and {_not_understood(backbone)}",
            f"{_HOW}; or use the granularity 'channels', which traces any module",
        )
    return found


def verified(architecture: Architecture, backbone: nn.Module, kind: Kind) -> Architecture:
    """The way of reading a structure under which hiding units of a kind and removing them is the same.

    One layer of each kind is tried, with random weights and inputs; the rest of the model is meta.

    Raises:
        UnsupportedModelError: there is none.
    """
    if not isinstance(architecture, Structure):
        return architecture
    if kind in architecture._verified:
        return architecture._verified[kind]
    layout = (type(backbone), tuple((name, p.shape) for name, p in backbone.named_parameters()))
    if (kind, layout) not in _TRIED:
        _try_readings(backbone, layout)
    reading, reason = _TRIED[kind, layout]
    if reading is not None:
        architecture._verified[kind] = Structure(backbone, reading[0], **reading[1])
        return architecture._verified[kind]
    raise UnsupportedModelError(
        f"{type(backbone).__name__} is of no registered architecture, and its "
        f"{'attention' if kind == 'attention' else 'FFN'} is not understood: {reason}",
        _HOW,
    )


def _try_readings(backbone: nn.Module, layout: Any) -> None:
    """Note for each kind the first way of reading that holds, or what is wrong with the first."""
    left: tuple[Kind, ...] = ("attention", "ffn")
    for reading in _READINGS:
        fused, hints = reading
        problems = _problems(Structure(backbone, fused, **hints), backbone, left)
        for kind in left:
            if kind not in problems:
                _TRIED[kind, layout] = (reading, "")
            else:
                _TRIED.setdefault((kind, layout), (None, problems[kind]))
        left = ("attention",)
        if "attention" not in problems:
            return


def _stack_paths(architecture: Architecture, backbone: nn.Module) -> Iterator[str]:
    """The innermost lists of modules that hold attentions or FFNs."""
    lists = [(p, m) for p, m in backbone.named_modules() if isinstance(m, nn.ModuleList) and len(m)]
    for path, layers in lists:
        inner = any(other.startswith(f"{path}.") for other, _ in lists)
        if inner and any(
            _has_blocks(architecture, deeper) for other, deeper in lists if other.startswith(f"{path}.")
        ):
            continue
        if _has_blocks(architecture, layers):
            yield path


def _has_blocks(architecture: Architecture, layers: nn.Module) -> bool:
    first: Any = layers[0]  # type: ignore[index]
    return bool(architecture.blocks(first))


def _final_norm(backbone: nn.Module, path: str) -> str:
    """The norm that stands behind a list of layers, beside it or beside what it is in."""
    while path:
        owner, _, name = path.rpartition(".")
        names = [key for key, _ in backbone.get_submodule(owner).named_children()]
        after = names[names.index(name) + 1 :]
        norm = next((key for key in after if "norm" in key or key.startswith("ln_")), "")
        if norm:
            return f"{owner}.{norm}" if owner else norm
        path = owner
    return ""


def _not_understood(backbone: nn.Module) -> str:
    """The deepest module that holds matrices and is in a list, for a message."""
    for path, module in backbone.named_modules():
        parts = path.split(".")
        inside = any(part.isdigit() for part in parts[:-1])
        if inside and any(is_matrix(part) for part in module.children()):
            return f"{path} ({type(module).__name__}) is not laid out as an attention or FFN that is known"
    return "it has no list of layers with matrices in them"


def _problems(architecture: Structure, backbone: nn.Module, kinds: Sequence[Kind]) -> dict[Kind, str]:
    """What is wrong with a way of reading a model, for the kinds with which something is."""
    problems: dict[Kind, str] = {}
    try:
        twin, calls = _running_twin(architecture, backbone)
        places = [place for place in architecture.places(twin) if place.block.kind in kinds]
        samples: dict[str, Place] = {}
        for place in places:
            layer = architecture.stacks(twin)[place.stack][place.layer or 0]
            samples.setdefault(_kind(layer), place)
        for place in samples.values():
            layer = architecture.stacks(twin)[place.stack][place.layer or 0]
            for kind, problem in _layer_problems(architecture, layer, kinds, calls.get(layer)).items():
                problems.setdefault(kind, f"{place.stack}.{place.layer} ({type(layer).__name__}): {problem}")
        left = [place for place in places if place.block.kind not in problems]
        coupled = _coupling_problem(architecture, twin, left)
        return problems if coupled is None else dict.fromkeys(kinds, coupled) | problems
    except Exception as error:  # whatever the modules of an unknown model raise
        return dict.fromkeys(kinds, _in_words(error)) | problems


def _in_words(error: Exception) -> str:
    return (
        error.message
        if isinstance(error, UnsupportedModelError)
        else f"{type(error).__name__}: {first_line(error)}"
    )


def _running_twin(
    architecture: Structure, backbone: nn.Module
) -> tuple[nn.Module, dict[nn.Module, tuple[Any, Any]]]:
    """The same model without weights, and what its layers are called with.

    Where all layers of a stack are alike, two of them do, unless the model insists on all.

    Raises:
        UnsupportedModelError: it cannot be run.
    """
    reason = ""
    for model in dict.fromkeys((_shortened(architecture, backbone), backbone)):
        try:
            twin = _on_meta(model)
            return twin, _calls(twin, architecture)
        except Exception as error:
            reason = f"it cannot be run on the meta device ({first_line(error)})"
    raise UnsupportedModelError(reason, _HOW)


def _shortened(architecture: Structure, backbone: nn.Module) -> nn.Module:
    """A model with two layers in each stack, which shares everything with the whole one."""
    for path, layers in architecture.stacks(backbone).items():
        if len({_kind(layer) for layer in layers}) == 1 and len(layers) > 2:
            backbone = replaced(backbone, path.split("."), nn.ModuleList(layers[:2]))
    return backbone


def _on_meta(backbone: nn.Module) -> nn.Module:
    """The same model without weights."""
    if any(not p.is_meta for p in backbone.parameters()):
        memo = {id(p): nn.Parameter(torch.empty_like(p, device="meta"), False) for p in backbone.parameters()}
        memo |= {id(b): torch.empty_like(b, device="meta") for b in backbone.buffers()}  # type: ignore[misc]
        backbone = copy.deepcopy(backbone, memo)
    else:
        backbone = copy.deepcopy(backbone)
    if isinstance(backbone, PreTrainedModel):
        backbone.set_attn_implementation("eager")  # others look at the values of masks
        vars(backbone.config)["pad_token_id"] = None  # or some look for it in the values of tokens
        if any(name.endswith("down_proj") and p.dim() == 3 for name, p in backbone.named_parameters()):
            # One after the other, experts look at their tokens; all at once, they take bfloat16 here.
            backbone.config._experts_implementation = "grouped_mm"
            return backbone.bfloat16().eval()
    return backbone.float().eval()


def sample_inputs(backbone: nn.Module, tokens: int = 6, device: str = "cpu") -> dict[str, Tensor]:
    """Inputs that a model of transformers takes, by what its class says and its configuration.

    Raises:
        UnsupportedModelError: its class does not say.
    """
    name = getattr(backbone, "main_input_name", "input_ids")
    config: Any = getattr(backbone, "config", None)
    takes = inspect.signature(backbone.forward).parameters
    ids = torch.ones(2, tokens, dtype=torch.int64, device=device)
    given: dict[str, Tensor] = {}
    if "input_ids" in takes:
        given["input_ids"] = ids
        if "attention_mask" in takes:
            given["attention_mask"] = ids
    if "pixel_values" in takes:
        vision = getattr(config, "vision_config", config)
        size, channels = vision.image_size, getattr(vision, "num_channels", 3)
        height, width = size if isinstance(size, (list, tuple)) else (size, size)
        given["pixel_values"] = torch.zeros(2, channels, height, width, device=device)
    if "input_values" in takes:
        frames, bins = getattr(config, "max_length", 20), getattr(config, "num_mel_bins", None)
        shape = (2, 1600) if bins is None else (2, frames, bins)
        given["input_values"] = torch.zeros(*shape, device=device)
    if "input_features" in takes:
        frames = 2 * config.max_source_positions
        given["input_features"] = torch.zeros(2, config.num_mel_bins, frames, device=device)
    decodes = any(child(backbone, path) is not None for path in ("decoder", "model.decoder"))
    if "decoder_input_ids" in takes and decodes:
        given["decoder_input_ids"] = ids
    if not given:
        raise UnsupportedModelError(
            f"{type(backbone).__name__} takes {name!r}, for which no example can be made", _HOW
        )
    return given


def _calls(twin: nn.Module, architecture: Architecture) -> dict[nn.Module, tuple[Any, Any]]:
    """The arguments that every layer is called with, without values."""
    calls: dict[nn.Module, tuple[Any, Any]] = {}

    def note(module: nn.Module, args: Any, kwargs: Any) -> None:
        calls.setdefault(module, (args, kwargs))

    layers = [layer for stack in architecture.stacks(twin).values() for layer in stack]
    hooks = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in layers]
    try:
        _run(twin)
    finally:
        for hook in hooks:
            hook.remove()
    return calls


@torch.no_grad()
def _run(twin: nn.Module) -> list[tuple[int, ...]]:
    """Shapes of what a model without weights gives.

    Some models look at the values of a mask that they are given, and some at those of inputs without one.
    """
    inputs = sample_inputs(twin, device="meta")
    dtype = next(twin.parameters()).dtype
    inputs = {name: v.to(dtype) if v.is_floating_point() else v for name, v in inputs.items()}
    mask = inputs.pop("attention_mask", None)
    ways: list[dict[str, Any]] = [{}]
    if mask is not None:
        tokens = mask.shape[1]
        whole = torch.zeros(len(mask), 1, tokens, tokens, dtype=dtype, device="meta")
        ways = [{"attention_mask": mask}, {}, {"attention_mask": whole}]
    for number, way in enumerate(ways, 1):
        try:
            return [tuple(tensor.shape) for tensor in tensors_of(twin(**inputs, **way))]
        except RuntimeError:
            if number == len(ways):
                raise
    raise AssertionError("one way returns or raises")


def _kind(layer: nn.Module) -> str:
    """What layers that are tried once have in common."""
    words = {k: v for k, v in vars(layer).items() if isinstance(v, str)}
    return f"{layer}{words}"


@torch.no_grad()
def _layer_problems(
    architecture: Architecture, layer: nn.Module, kinds: Sequence[Kind], call: tuple[Any, Any] | None
) -> dict[Kind, str]:
    """What is wrong with one layer, which is filled once: the second kind is tried after the first is cut."""
    present = [kind for kind in kinds if any(block.kind == kind for block in architecture.blocks(layer))]
    if call is None:
        return dict.fromkeys(present, "it is never called")
    noise = torch.randn(_NOISE, generator=torch.Generator().manual_seed(0))
    args, kwargs = _valued("", call[0], noise), _valued("", call[1], noise)
    problems: dict[Kind, str] = {}
    real = None
    for kind in present:
        real = _filled(layer, noise) if real is None else real
        try:
            problem = _cut_problem(architecture, real, kind, args, kwargs)
        except Exception as error:  # whatever the modules of an unknown model raise
            problem = _in_words(error)
        if problem is not None:
            problems[kind], real = problem, None
    return problems


def _cut_problem(
    architecture: Architecture, real: nn.Module, kind: Kind, args: Any, kwargs: Any
) -> str | None:
    """Whether hiding every second unit of a layer is the same as removing them, which is done."""
    whole = _hidden(real(*args, **kwargs))
    blocks = [block for block in architecture.blocks(real) if block.kind == kind]
    groups = [
        SlicedGroup(f"{i}", b.kind, b.size, gates=b.gates, slices=b.slices) for i, b in enumerate(blocks)
    ]
    keeps = [torch.arange(group.size)[1::2] if group.size > 1 else torch.arange(1) for group in groups]
    hooks = [
        hide_units(gate, group.size, keep)
        for group, keep in zip(groups, keeps, strict=True)
        for gate in group.gates
    ]
    try:
        hidden = _hidden(real(*args, **kwargs))
    finally:
        for hook in hooks:
            hook.remove()
    for block, group, keep in zip(blocks, groups, keeps, strict=True):
        group.keep(keep)
        block.sync(group.size)
    try:
        cut = _hidden(real(*args, **kwargs))
    except Exception as error:
        return f"it does not run with fewer units ({first_line(error)})"
    scale = float((whole - hidden).abs().max())
    if any(group.size < block.size for group, block in zip(groups, blocks, strict=True)) and scale == 0:
        return "hiding units changes nothing"
    if cut.shape != hidden.shape or float((cut - hidden).abs().max()) > 1e-3 * max(scale, 1e-6):
        return "removing units is not hiding them"
    return None


@torch.no_grad()
def _coupling_problem(architecture: Architecture, twin: nn.Module, places: Sequence[Place]) -> str | None:
    """Whether the model still runs where one layer alone is cut."""
    shapes = _run(twin)
    place = next((p for p in places if p.block.size > 1), None)
    if place is None:
        return None
    first = [p.block for p in places if (p.stack, p.layer) == (place.stack, place.layer)]
    first = [block for block in first if is_matrix(block.output)]  # of experts every layer has its own
    for block in first:
        group = SlicedGroup(block.path, block.kind, block.size, gates=block.gates, slices=block.slices)
        group.keep(torch.arange(max(1, block.size // 2)))
        block.sync(group.size)
    try:
        found = _run(twin)
    except Exception as error:
        return f"its layers cannot be cut one by one ({first_line(error)})"
    return None if found == shapes else f"with one layer cut it gives {found}, not {shapes}"


def hide_units(gate: Gate, size: int, keep: Tensor) -> Any:
    """Set all units but those at ``keep`` to zero at a gate; the hook's handle."""
    places = torch.arange(size * gate.width).view(size, -1) if gate.index is None else gate.index
    gone = torch.ones(size, dtype=torch.bool)
    gone[keep] = False
    index = places[gone].flatten()

    def hidden(value: Tensor) -> Tensor:
        return value.index_fill(gate.dim, index.to(value.device), 0.0)

    def before(module: nn.Module, args: Any, kwargs: Any) -> Any:
        if args:
            return (hidden(args[0]), *args[1:]), kwargs
        first = next(iter(kwargs))
        return args, {**kwargs, first: hidden(kwargs[first])}

    if gate.side == "output":
        return gate.module.register_forward_hook(lambda module, args, output: hidden(output))
    return gate.module.register_forward_pre_hook(before, with_kwargs=True)


def _filled(layer: nn.Module, noise: Tensor) -> nn.Module:
    """A layer with random weights, on the CPU."""
    real = copy.deepcopy(layer).to_empty(device="cpu").float().eval()
    for tensor in [*real.parameters(), *real.buffers()]:
        if not tensor.is_floating_point():
            tensor.zero_()
            continue
        scale = 0.2 if tensor.dim() < 2 else tensor.shape[-1] ** -0.5
        flat, scaled = tensor.detach().view(-1), noise * scale
        for piece in flat.split(len(noise)):  # at once it would take its size again
            piece.copy_(scaled[: len(piece)])
        if tensor.dim() < 2:
            flat.add_(0.5)
    return real


def _drawn(shape: Sequence[int], noise: Tensor) -> Tensor:
    count = 1
    for length in shape:
        count *= length
    return noise.repeat(-(-count // len(noise)))[:count].view(*shape) if count else noise[:0].view(*shape)


def _valued(name: str, value: Any, noise: Tensor) -> Any:
    """Arguments without values, with some."""
    if isinstance(value, Tensor):
        if value.dtype == torch.bool:
            return torch.ones(value.shape, dtype=torch.bool)
        if not value.is_floating_point():
            return torch.zeros(value.shape, dtype=value.dtype)
        return torch.zeros(value.shape) if "mask" in name else _drawn(value.shape, noise)
    if isinstance(value, Mapping):
        return {key: _valued(str(key), item, noise) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_valued(name, item, noise) for item in value)
    return None if name in ("past_key_values", "layer_past") else value


def _hidden(output: Any) -> Tensor:
    return next(iter(tensors_of(output)))


def tensors_of(output: Any) -> Iterator[Tensor]:
    """All tensors in an output, in order."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from tensors_of(value)
    elif isinstance(output, (tuple, list)):
        for value in output:
            yield from tensors_of(value)
