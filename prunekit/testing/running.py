"""Checks of what runs layers one by one: layers, rows of a batch, exits."""

from __future__ import annotations

import inspect
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..architectures import architecture_of, select_rows
from ..checkpoints import load, save
from ..errors import UnsupportedModelError
from ..exits import MultiExitForSequenceClassification, entropy
from ..pruner import Pruner
from .cases import SIDES, Case, Inputs, Side, distance, floats, numbers_of, real_tokens, refusal, row_alone

_TOLERANCE = 1e-4  # in float32


def layers(case: Case) -> None:
    """The layers one by one, whichever side is padded, against the model on every row alone."""
    for attention in ("sdpa", "eager"):
        backbone = case.backbone()
        try:
            backbone.set_attn_implementation(attention)
        except (ValueError, ImportError) as error:
            case.skipped(attention, refusal(error))
            continue
        for side in sides(case):
            _compare_layers(case, backbone, side, attention)


def sides(case: Case) -> tuple[Side, ...]:
    """Ways of padding that apply."""
    return SIDES if case.no_text is None else SIDES[:1]


@torch.no_grad()
def _compare_layers(case: Case, backbone: Any, side: Side, attention: str) -> None:
    architecture, inputs = architecture_of(backbone), floats(case.padded(side))
    what, name = f"{attention}, {side}", type(architecture).__name__
    hidden, contexts = architecture.embed(backbone, inputs)
    stack = architecture.layers(backbone)
    if len(contexts) != len(stack):
        return case.failed(
            what, f"embed() gives {len(contexts)} contexts for {len(stack)} layers", f"{name}.embed"
        )
    found = []
    for layer, context in zip(stack, contexts, strict=True):
        hidden = architecture.run_layer(layer, hidden, context)
        found.append(hidden)
    alone = (
        sum(path.startswith(_home(architecture.stacks(backbone))) for path in architecture.stacks(backbone))
        == 1
    )
    finished = architecture.finish(backbone, hidden) if alone else None
    real = real_tokens(inputs, hidden)
    for row in range(len(hidden)):
        states, last = _whole(architecture.encoder(backbone), stack, row_alone(inputs, row))
        for number, (one, state) in enumerate(zip(found, states, strict=True), 1):
            off = distance([one[row][real[row]]], [state[0]])
            if off > _TOLERANCE * max(1.0, float(state.abs().max())):
                look = f"{name}.embed and run_layer: masks, positions, what a layer takes beside them"
                return case.failed(what, f"layer {number} of {len(stack)}, row {row}: off by {off:.1e}", look)
        if finished is None or last is None or last.shape != states[-1].shape:
            continue
        off = distance([finished[row][real[row]]], [last[0]])
        if off > _TOLERANCE * max(1.0, float(last.abs().max())):
            problem = f"finish() gives other states than the model, row {row}: off by {off:.1e}"
            return case.failed(what, problem, f"{name}.norm_path, the norm behind the last layer")
    return case.held(what)


def _home(stacks: Any) -> str:
    """Where the first list of layers is: an encoder, or one stage of several."""
    return next(iter(stacks)).partition(".")[0]


def _whole(encoder: nn.Module, stack: Any, inputs: Inputs) -> tuple[list[Tensor], Tensor | None]:
    """What every layer, and the model, gives of one row: ``[1, T, H]`` each."""
    states: list[Tensor] = []

    def note(module: nn.Module, args: Any, output: Any) -> None:
        states.append(output[0] if isinstance(output, tuple) else output)

    takes = inspect.signature(encoder.forward).parameters
    hooks = [layer.register_forward_hook(note) for layer in dict.fromkeys(stack)]
    try:
        output = encoder(**{name: value for name, value in inputs.items() if name in takes})
    finally:
        for hook in hooks:
            hook.remove()
    return states, getattr(output, "last_hidden_state", None)


@torch.no_grad()
def rows(case: Case) -> None:
    """Rows that go on alone, also where the batch is as large as something else by accident."""
    backbone = case.backbone()
    architecture = architecture_of(backbone)
    side = sides(case)[-1]
    sizes = {case.size, 1}
    hidden, contexts = architecture.embed(backbone, floats(case.padded(side)))
    sizes |= {hidden.shape[1]} | {n for n in _lengths(contexts) if 1 < n <= 64}
    for size in sorted(sizes):
        inputs = floats(case.padded(side, size))
        hidden, contexts = architecture.embed(backbone, inputs)
        chosen = torch.arange(size)[-(size // 2) :] if size > 1 else torch.arange(1)
        some = hidden[chosen]
        picked: Any = select_rows(contexts, chosen, size)
        # And once more, as where examples leave at one exit after the other.
        again = torch.arange(len(chosen))[-1:]
        last, picked_again = some[again], select_rows(picked, again, len(chosen))
        real = real_tokens(inputs, hidden)
        for number, layer in enumerate(architecture.layers(backbone)):
            try:
                hidden = architecture.run_layer(layer, hidden, contexts[number])
                some = architecture.run_layer(layer, some, picked[number])
                last = architecture.run_layer(layer, last, picked_again[number])
            except (RuntimeError, IndexError) as error:
                problem = f"layer {number + 1} does not run on {len(chosen)} of {size} rows: {refusal(error)}"
                return case.failed(
                    f"batch of {size}", problem, "select_rows, and what embed() gives of the layer"
                )
            whole = hidden[chosen]
            off = distance([some[real[chosen]]], [whole[real[chosen]]])
            off = max(off, distance([last[real[chosen[-1:]]]], [whole[-1:][real[chosen[-1:]]]]))
            if off > _TOLERANCE * max(1.0, float(hidden.abs().max())):
                problem = f"layer {number + 1}: rows alone are off by {off:.1e}"
                return case.failed(
                    f"batch of {size}", problem, "select_rows, and what embed() gives of the layer by row"
                )
    return case.held(f"batches of {', '.join(map(str, sorted(sizes)))}")


def _lengths(value: Any) -> set[int]:
    """First dimensions of all tensors in contexts."""
    if isinstance(value, Tensor):
        return {int(value.shape[0])} if value.dim() else set()
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return {length for item in items for length in _lengths(item)}


def exits(case: Case) -> None:
    """Exits, and who leaves at them, against one example at a time; a model that is read back."""
    if case.no_text is not None:
        return case.skipped("", case.no_text)
    model = with_exits(case)
    _compare_causal(case, model)
    for cut in ("", ", cut"):
        if cut:
            names = [name for name, groups in case.groups(model).items() if groups]
            if not names:
                case.skipped("after a cut", "nothing of the model can be cut")
                break
            Pruner(model, names, "random", budget={"name": "ratio", "keep": 0.5}).step()
        for side in SIDES:
            _compare_exits(case, model, side, cut)
        _read_back(case, model, f"saving{cut}")
    depth = len(architecture_of(model).layers(model.backbone))
    what = "saving, the first layer alone"
    try:
        if depth > 1:
            _read_back(case, with_exits(case, exit_layers=[1]), what)
    except UnsupportedModelError as error:
        case.skipped(what, error.message)
    return None


@torch.no_grad()
def _compare_causal(case: Case, model: MultiExitForSequenceClassification) -> None:
    """Whether the first token sees the last one, against what the adapter says."""
    inputs = _text(case.inputs)
    if inputs["input_ids"].shape[1] < 2:
        return case.skipped("causal", "the inputs have one token")
    ids = inputs["input_ids"].clone()
    ids[:, 1:] = ids[:, 1:].flip(0)
    states = [
        model(**{**inputs, "input_ids": some}, output_hidden_states=True).hidden_states[-1][:, 0]
        for some in (inputs["input_ids"], ids)
    ]
    blind, causal = distance(states[:1], states[1:]) < _TOLERANCE, architecture_of(model).causal
    if blind != causal:
        problem = (
            f"the first token sees {'no' if blind else 'the'} others, and the adapter says causal = {causal}"
        )
        return case.failed("causal", problem, "causal: exits read the last token of a causal model")
    return case.held("causal")


def with_exits(case: Case, **arguments: Any) -> MultiExitForSequenceClassification:
    """The case's backbone with exits whose answers differ."""
    model = MultiExitForSequenceClassification.from_backbone(case.backbone(), num_labels=3, **arguments)
    with torch.no_grad():
        heads: Any = model.exits
        for head in heads:
            head.classifier.weight.copy_(torch.randn_like(head.classifier.weight))
    return model.eval()


@torch.no_grad()
def _compare_exits(case: Case, model: MultiExitForSequenceClassification, side: Side, cut: str) -> None:
    inputs, size, what = _text(case.padded(side)), case.size, f"{side}{cut}"
    alone = [model(**row_alone(inputs, i), all_exits=True).exit_logits for i in range(size)]
    expected = torch.cat(alone, dim=1)
    found = model(**inputs, all_exits=True).exit_logits
    off = distance([found], [expected])
    if off > _TOLERANCE * max(1.0, float(expected.abs().max())):
        exit_, row = divmod(int((found - expected).abs().amax(-1).argmax()), size)
        problem = f"exit {exit_ + 1}, row {row}: its logits in a batch are off by {off:.1e} from those alone"
        return case.failed(what, problem, "what exits read (reads=), positions, masks")
    # So that half of the rows leave at each exit, and none is near the threshold.
    surprise = entropy(expected)[:-1].sort(dim=1).values
    middle = surprise[:, (size - 1) // 2 : size // 2 + 1].mean(1).tolist()
    for policy in ({"name": "entropy", "threshold": middle}, {"name": "patience", "patience": 1}):
        if policy["name"] == "entropy" and not middle:
            continue
        model.set_exit_policy(policy)
        output = model(**inputs)
        numbers = torch.tensor(model.config.exit_layers)
        taken = model._policy.exits(expected)  # type: ignore[union-attr]
        wanted = expected[taken, torch.arange(size)]
        if not torch.equal(output.exit_layer, numbers[taken]):
            together, singly = output.exit_layer.tolist(), numbers[taken].tolist()
            problem = f"{policy['name']}: rows leave at {together}, alone at {singly}"
            return case.failed(what, problem, "select_rows: rows that go on alone")
        off = distance([output.logits], [wanted])
        if off > _TOLERANCE * max(1.0, float(wanted.abs().max())):
            return case.failed(what, f"{policy['name']}: logits are off by {off:.1e}", "select_rows")
    model.set_exit_policy(None)
    return case.held(what)


def _text(inputs: Inputs) -> Inputs:
    return {n: v for n, v in inputs.items() if n in ("input_ids", "attention_mask", "token_type_ids")}


@torch.no_grad()
def _read_back(case: Case, model: MultiExitForSequenceClassification, what: str) -> None:
    inputs = _text(case.padded("padding on the right"))
    expected = numbers_of(model(**inputs, all_exits=True))
    with tempfile.TemporaryDirectory() as folder:
        again = load(
            save(model, Path(folder) / "model"), attn_implementation=model.config._attn_implementation
        )
        found = numbers_of(again(**inputs, all_exits=True))
    if not same_bits(found, expected):
        problem = f"read back it is off by {distance(found, expected):.1e}"
        return case.failed(what, problem, "prepare and truncate: the configuration must build what is left")
    return case.held(what)


def same_bits(found: list[Tensor], expected: list[Tensor]) -> bool:
    """Whether tensors are equal to the bit."""
    return len(found) == len(expected) and all(map(torch.equal, found, expected))
