"""Checks of what pruning does: values, gradients, costs, generated tokens."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..architectures import FactorizedEmbedding
from ..architectures.structure import hide_units
from ..costs import CostModel, total_cost
from ..costs.positions import attention_pairs, transformer_positions
from ..groups import Group
from ..reports import count
from .cases import GRANULARITIES, TOKENS, Case, Inputs, distance, floats, numbers_of, output_of, refusal

Keeps = dict[str, Tensor]
# How far removing may be from hiding, as a share of what hiding changes.
_SHARE = 1e-4


def _half(size: int, index: int, generator: torch.Generator) -> Tensor:
    return _any(size, max(1, size // 2), generator)


def _one(size: int, index: int, generator: torch.Generator) -> Tensor:
    return _any(size, 1, generator)


def _uneven(size: int, index: int, generator: torch.Generator) -> Tensor:
    return _any(size, 1 + (index * size // 3 + size // 4) % size, generator)


def _any(size: int, number: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(size, generator=generator)[:number].sort().values


WAYS: dict[str, Callable[[int, int, torch.Generator], Tensor]] = {
    "half": _half,
    "one unit": _one,
    "uneven": _uneven,
}


def cut(case: Case) -> None:
    """Removing is hiding, for each granularity and all together."""
    found = case.groups(case.twin())
    for name in GRANULARITIES:
        if not found[name]:
            case.skipped(name, case.reasons[name])
    names = tuple(name for name in GRANULARITIES if found[name])
    inputs = _inputs(case)
    whole = _outputs(case.model, inputs)
    for chosen in [*((name,) for name in names), *([names] if len(names) > 1 else [])]:
        for way in (*WAYS, "twice"):
            _compare(case, chosen, way, inputs, whole)


def _outputs(model: nn.Module, inputs: list[Inputs]) -> list[Tensor]:
    return [tensor for one in inputs for tensor in output_of(model, one)]


def _compare(case: Case, names: tuple[str, ...], way: str, inputs: list[Inputs], whole: list[Tensor]) -> None:
    what = f"{' + '.join(names)}, {way}"
    model = case.twin()
    groups = _flat(case, model, names)
    keeps = _cut(groups, way)
    masked = case.twin()
    try:
        with _hidden(_flat(case, masked, names), keeps):
            expected = _outputs(masked, inputs)
    except Exception as error:
        return case.failed(what, f"hiding units fails: {refusal(error)}", "the gates of the blocks")
    try:
        found = _outputs(model, inputs)
    except Exception as error:
        return case.failed(what, f"the cut model does not run: {refusal(error)}", _COUNTS)
    changed = distance(expected, whole)
    if changed == 0 and any(len(keeps[g.name]) < g.initial_size for g in groups):
        return case.failed(what, "hiding units changes nothing", "the gates of the blocks: they are not run")
    off = distance(found, expected)
    if off > _SHARE * changed + 1e-9:
        where = _first_wrong(case, names, keeps)
        return case.failed(what, f"{where}removing is not hiding, off by {off:.1e} of {changed:.1e}", _LAYOUT)
    again = {g.name: g.size for g in _flat(case, model, names)}
    wrong = next((g for g in groups if again.get(g.name) != g.size), None)
    if wrong is not None:
        problem = (
            f"{wrong.name} has {wrong.size} units after the cut, and is found with {again.get(wrong.name)}"
        )
        return case.failed(what, problem, _COUNTS)
    return case.held(what)


_LAYOUT = "the slices of the block: fused=, head_rows=, tables, the order of rows"
_COUNTS = "the numbers that modules keep of their units: Block.counts, reads_config=, widths="


def _inputs(case: Case) -> list[Inputs]:
    """Inputs with and without padding where there are tokens."""
    sides = ("no padding", "padding on the right") if "input_ids" in case.inputs else ("no padding",)
    return [case.padded(side) for side in sides]  # type: ignore[arg-type]


def _flat(case: Case, model: nn.Module, names: tuple[str, ...]) -> list[Group]:
    return [group for some in case.groups(model, names).values() for group in some]


def _cut(groups: list[Group], way: str) -> Keeps:
    """Cut groups; the units that are left, by their first positions."""
    generator = torch.Generator().manual_seed(1)
    keeps: Keeps = {}
    for index, group in enumerate(groups):
        kept = torch.arange(group.size)
        for _ in range(2 if way == "twice" else 1):
            chosen = WAYS["half" if way == "twice" else way](group.size, index, generator)
            if group.ordered:
                chosen = torch.arange(len(chosen))
            group.keep(chosen)
            kept = kept[chosen]
        keeps[group.name] = kept
    return keeps


@contextlib.contextmanager
def _hidden(groups: list[Group], keeps: Keeps) -> Iterator[None]:
    """Hide all units but those that are kept; of an embedding the singular directions."""
    hooks = []
    for group in groups:
        keep = keeps[group.name]
        for gate in group.gates:
            hooks.append(hide_units(gate, group.size, keep))
        words: Any = getattr(group, "words", None)
        if isinstance(words, nn.Embedding) and len(keep) < group.size:
            best = FactorizedEmbedding.from_weight(words.weight, len(keep), words.padding_idx)
            words.weight = nn.Parameter(best.weight.detach())
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _first_wrong(case: Case, names: tuple[str, ...], keeps: Keeps) -> str:
    """The first group that is wrong when it is cut alone, for a message."""
    inputs = _inputs(case)[0]
    for index in range(len(keeps)):
        model, masked = case.twin(), case.twin()
        group, other = _flat(case, model, names)[index], _flat(case, masked, names)[index]
        keep = keeps[group.name]
        try:
            with _hidden([other], keeps):
                expected = output_of(masked, inputs)
            group.keep(keep)
            off = distance(output_of(model, inputs), expected)
        except Exception as error:
            return f"{group.name}: {refusal(error)}: "
        if off > _SHARE * distance(expected, output_of(case.model, inputs)) + 1e-9:
            return f"{group.name}, cut to {keep.tolist()[:8]}: "
    return ""


def gradients(case: Case) -> None:
    """What the cut parameters learn by, against the model in which the rest is hidden."""
    found = case.groups(case.twin())
    for name in GRANULARITIES:
        if not found[name]:
            case.skipped(name, case.reasons[name])
    names = tuple(name for name in ("heads", "neurons") if found[name])
    if names:
        _compare_gradients(case, names)
    if found["rank"]:
        model = case.twin()
        group = _flat(case, model, ("rank",))[0]
        _cut([group], "half")
        _backward(model, case.inputs)
        words: Any = group.words  # type: ignore[attr-defined]
        bad = [n for n, p in words.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())]
        if bad:
            return case.failed("rank", f"{bad[0]} gets no finite gradient", "FactorizedEmbedding")
        case.held("rank", "finite")
    return None


def _compare_gradients(case: Case, names: tuple[str, ...]) -> None:
    what = " + ".join(names)
    model, masked = case.twin(), case.twin()
    groups = _flat(case, model, names)
    keeps = _cut(groups, "half")
    others = _flat(case, masked, names)
    with _hidden(others, keeps):
        _backward(masked, case.inputs)
    _backward(model, case.inputs)
    # Cut the gradients as the parameters were: by putting them in their place.
    untouched = {name for name, p in masked.named_parameters() if p.grad is None}
    for parameter in masked.parameters():
        gradient = parameter.grad
        parameter.data = torch.zeros_like(parameter) if gradient is None else gradient
    for group in others:
        group.keep(keeps[group.name])
    expected = dict(masked.named_parameters())
    scale = max(float(p.abs().max()) for p in expected.values())
    owned = {id(piece.tensor) for group in groups for piece in group.slices}
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            if name not in untouched and id(parameter) in owned:
                return case.failed(what, f"{name} gets no gradient", "Group.keep: new parameters must learn")
            continue
        if not bool(parameter.grad.isfinite().all()):
            return case.failed(what, f"{name} gets a gradient that is not finite", "the slices of its block")
        off = distance([parameter.grad], [expected[name]])
        if off > _SHARE * scale:
            problem = f"{name}: its gradient is off by {off:.1e} from that with the rest hidden"
            return case.failed(what, problem, _LAYOUT)
    return case.held(what)


def _backward(model: nn.Module, inputs: Inputs) -> None:
    generator = torch.Generator().manual_seed(2)
    model.requires_grad_(True)
    outputs = numbers_of(model(**inputs))
    weighed = [(t * torch.randn(t.shape, generator=generator, dtype=t.dtype)).sum() for t in outputs]
    torch.stack(weighed).sum().backward()


def costs(case: Case) -> None:
    """The cost model against tracing, before and after a cut, and as it foresaw the cut."""
    model = case.twin(torch.float32)
    tokens = case.inputs["input_ids"].shape[1] if "input_ids" in case.inputs else TOKENS
    inputs = {name: v[:1] for name, v in floats(case.inputs).items()}
    _compare_costs(case, model, inputs, tokens, "before a cut")
    groups = [group for some in case.groups(model).values() for group in some]
    if not groups:
        return case.skipped("after a cut", "nothing of the model can be cut")
    try:
        foreseen = CostModel(model, groups, tokens)
    except Exception as error:
        return case.failed("foreseen", refusal(error), "uses, pairs and the slices of the blocks")
    _cut(groups, "uneven")
    _compare_costs(case, model, inputs, tokens, "after a cut")
    before, after = foreseen.total({g.name: g.size for g in groups}), total_cost(model, tokens)
    if (before.parameters, before.macs) != (after.parameters, after.macs):
        problem = f"CostModel foresees {before}, and the cut model has {after}"
        return case.failed("foreseen", problem, "uses and pairs: they may not depend on what is cut")
    return case.held("foreseen")


def _compare_costs(case: Case, model: PreTrainedModel, inputs: Inputs, tokens: int, what: str) -> None:
    own = total_cost(model, tokens)
    parameters = sum(p.numel() for p in model.parameters())
    if own.parameters != parameters:
        problem = f"{own.parameters:,} parameters, and the model has {parameters:,}"
        return case.failed(what, problem, "parameters that stand outside of modules")
    try:
        counts = count(model, example_inputs=inputs)
    except Exception as error:
        return case.skipped(what, f"the model cannot be traced: {refusal(error)}")
    if counts.uncounted:
        return case.skipped(what, f"tracing does not count {', '.join(counts.uncounted)}")
    # Products to the trace that are outside of the convention: angles of rotary positions, and similarities
    # that the model itself takes of what its parts give.
    counted = counts.total.macs - sum(row.macs for row in counts.modules if "Rotary" in row.type)
    parts = {row.name: row.macs for row in counts.modules}
    if len(list(model.children())) > 1:
        counted -= counts.total.macs - sum(parts[name] for name, _ in model.named_children())
    if own.macs != counted:
        problem = f"{own.macs:,} multiply-adds, and tracing counts {counted:,}{_where(model, counts, tokens)}"
        return case.failed(what, problem, "uses (how often each matrix is used) and pairs (queries x keys)")
    return case.held(what, f"{counted:,} multiply-adds")


def _where(model: PreTrainedModel, counts: Any, tokens: int) -> str:
    """The first matrix whose count is another, for a message."""
    uses, pairs = transformer_positions(model, tokens), attention_pairs(model, tokens)
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if module not in uses or not isinstance(weight, Tensor):
            continue
        own, counted = round(uses[module] * weight.numel()), counts.module(name).macs
        if own != counted:
            return f" (first {name}: {own:,}, and {counted:,})"
    return f" (all matrices agree: it is in the attention products, {len(pairs)} of them)"


def generate(case: Case) -> None:
    """The same tokens with and without a cache."""
    model = case.twin()
    if not model.can_generate():
        return case.skipped("", f"{type(model).__name__} does not generate")
    inputs = {name: v for name, v in case.inputs.items() if not name.startswith("decoder_")}
    for what in ("before a cut", "after a cut"):
        if what == "after a cut":
            groups = [group for some in case.groups(model).values() for group in some]
            _cut(groups, "uneven")
        made = []
        for cache in (True, False):
            with torch.no_grad():
                made.append(
                    model.generate(
                        **inputs, max_new_tokens=6, min_new_tokens=6, do_sample=False, use_cache=cache
                    )
                )
        if not torch.equal(*made):
            row = int((made[0] != made[1]).any(1).nonzero()[0])
            problem = f"row {row}: {made[0][row].tolist()} with a cache, {made[1][row].tolist()} without"
            case.failed(what, problem, "numbers of key/value heads that modules keep")
        else:
            case.held(what)
    return None
