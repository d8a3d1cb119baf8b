"""Attention and FFN as what they are made of: units, the parameters that each owns, and where they are seen.

A layout is found by structure: by the names that projections have in nearly all of transformers, and by their
shapes. What differs in a family, its adapter says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ..groups import Gate, Slice
from ..views import ConfigView

Kind = Literal["attention", "ffn"]
Fused = Literal["blocks", "heads"]

SEPARATE = (
    ("query", "key", "value"),
    ("q_proj", "k_proj", "v_proj"),
    ("q_lin", "k_lin", "v_lin"),
    ("query_proj", "key_proj", "value_proj"),
    ("to_q", "to_k", "to_v"),
    ("wq", "wk", "wv"),
    ("q", "k", "v"),
)
FUSED = ("qkv_proj", "query_key_value", "Wqkv", "c_attn", "qkv", "to_qkv", "att_proj", "in_proj")
OUTPUTS = ("o_proj", "out_proj", "out_lin", "dense", "o", "Wo", "c_proj", "wo", "proj", "attn_out")
GATED = (("gate_proj", "up_proj", "down_proj"), ("wi_0", "wi_1", "wo"), ("w1", "w3", "w2"))
GATED_IN_ONE = (("gate_up_proj", "down_proj"), ("Wi", "Wo"))
PLAIN = (
    ("fc1", "fc2"),
    ("lin1", "lin2"),
    ("dense_h_to_4h", "dense_4h_to_h"),
    ("c_fc", "c_proj"),
    ("wi", "wo"),
    ("ffn", "ffn_output"),
    ("intermediate.dense", "output.dense"),
    ("up_proj", "down_proj"),
    ("linear1", "linear2"),
    ("dense1", "dense2"),
    ("fc_in", "fc_out"),
    ("lin_1", "lin_2"),
    ("intermediate_dense", "output_dense"),
    ("intermediate", "output"),
)
HEAD_DIMS = ("head_dim", "attention_head_size", "head_size", "key_value_proj_dim", "d_kv", "dim_head")
QUERY_COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head")
KEY_COUNTS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads")
WIDTHS = ("all_head_size", "inner_dim", "split_size")
RATIO = "num_key_value_groups"
TABLE = "relative_position_bias_table"


@dataclass
class Block:
    """The units of one attention or FFN.

    Attributes:
        kind: what the units are: heads (or key/value groups), or neurons.
        module: the attention, or the FFN.
        size: units there are now.
        slices: what they own.
        gates: where they are seen.
        output: the matrix that reads them; of experts the module that holds it.
        inputs: the matrices that make them.
        counts: numbers that modules keep of them: (module, attribute) -> so many a unit.
        head_dim, queries, keys: of attention: width of a head; query, and key/value, heads of a unit.
        path: module path inside its layer.
    """

    kind: Kind
    module: nn.Module
    size: int
    slices: list[Slice]
    gates: list[Gate]
    output: nn.Module
    inputs: tuple[nn.Module, ...]
    counts: dict[tuple[nn.Module, str], int] = field(default_factory=dict)
    head_dim: int = 0
    queries: int = 1
    keys: int = 1
    path: str = ""

    def sync(self, size: int) -> None:
        """Bring the numbers that modules keep in line with ``size`` units."""
        fit_experts(self.module)
        for (module, attribute), each in self.counts.items():
            if attribute.startswith("config."):
                ConfigView.of(module).overrides[attribute.removeprefix("config.")] = size * each
            else:
                setattr(module, attribute, size * each)


def is_matrix(module: object) -> bool:
    """Whether a module is one matrix product, with or without a bias."""
    return isinstance(module, (nn.Linear, Conv1D))


def multiplies(module: nn.Module) -> bool:
    """Whether a module multiplies by its ``weight``: a matrix, a convolution, a router."""
    if is_matrix(module) or isinstance(module, nn.modules.conv._ConvNd):
        return True
    weight = vars(module).get("_parameters", {}).get("weight")
    return weight is not None and weight.dim() == 2 and not isinstance(module, nn.Embedding)


def is_experts(module: nn.Module) -> bool:
    """Whether a module holds several FFNs in tensors of three dimensions."""
    down = vars(module).get("_parameters", {}).get("down_proj")
    return down is not None and down.dim() == 3


def rows_dim(module: nn.Module) -> int:
    """The dimension of a matrix' weight that its outputs are in: transformers' ``Conv1D`` is transposed."""
    return 1 if isinstance(module, Conv1D) else 0


def width_out(module: nn.Module) -> int:
    """Outputs of a matrix."""
    return int(module.weight.shape[rows_dim(module)])  # type: ignore[union-attr, index]


def width_in(module: nn.Module) -> int:
    """Inputs of a matrix."""
    return int(module.weight.shape[1 - rows_dim(module)])  # type: ignore[union-attr, index]


def rows(module: nn.Module, width: int = 1, index: Tensor | None = None) -> list[Slice]:
    """The outputs of a matrix, bias included, as what units own."""
    width = width if index is None else index.shape[1]
    slices = [Slice(module, "weight", rows_dim(module), width, index)]
    if getattr(module, "bias", None) is not None:
        slices.append(Slice(module, "bias", 0, width, index))
    return slices


def columns(module: nn.Module, width: int = 1) -> Slice:
    """The inputs of a matrix as what units own."""
    return Slice(module, "weight", 1 - rows_dim(module), width)


def child(module: nn.Module, path: str) -> nn.Module | None:
    """A module below another, by its path; ``None`` where there is none."""
    found: nn.Module | None = module
    for name in path.split("."):
        found = None if found is None else found._modules.get(name)
    return found


def attention_block(
    module: nn.Module,
    parent: nn.Module | None = None,
    *,
    fused: Fused = "blocks",
    also: Sequence[str] = (),
    reads_config: Sequence[str] = (),
    widths: Sequence[str] = (),
    head_dim: int | None = None,
) -> Block | None:
    """The attention that a module holds; ``None`` where it holds none.

    Where queries share keys and values, a unit is a key/value head with its queries. One key/value head
    alone is everybody's: then every query is a unit.

    Args:
        module: with the projections of queries, keys and values.
        parent: what ``module`` is in, which may hold the output.
        fused: how one matrix holds all three: ``"blocks"`` (queries, then keys, then values) or ``"heads"``
            (each key/value head's queries, key and value together).
        also: further matrices of the module whose outputs the heads own.
        reads_config: numbers of query heads that the module reads from its configuration.
        widths: further attributes that are the width of all query heads together.
        head_dim: width of a head; default: as the module says.
    """
    if not module._modules:
        return None
    three = _children(module, SEPARATE)
    one = next((m for name in FUSED if is_matrix(m := child(module, name))), None)
    output = None if three is None and one is None else _output(module, parent)
    if output is None:
        return None
    width = head_dim or _head_dim(module, parent)
    if width is None or width_in(output) % width:
        return None
    queries = width_in(output) // width
    if three is not None:
        query, key, value = three
        keys = width_out(key) // width
        wrong = width_out(query) != queries * width or width_out(value) != width_out(key)
    else:
        assert one is not None
        keys = (width_out(one) // width - queries) // 2
        wrong = width_out(one) != (queries + 2 * keys) * width
    if wrong or keys < 1 or queries % keys:
        return None
    shared = keys == 1 and queries > 1 and _is_made_with_one_key(module)
    size, each = (queries, 1) if shared else (keys, queries // keys)
    wide = each * width
    block = Block(
        "attention",
        module,
        size,
        [],
        [Gate(output, "input", -1, wide)],
        output,
        three or (one,),  # type: ignore[arg-type]
        head_dim=width,
        queries=each,
        keys=0 if shared else 1,
    )
    if three is not None:
        block.slices += rows(query, wide)
        if not shared:
            block.slices += rows(key, width) + rows(value, width)
    else:
        assert one is not None
        block.slices += rows(one, index=_fused_index(fused, size, each, width, shared))
    for name in also:
        matrix = child(module, name)
        if matrix is not None:
            block.slices += rows(matrix, wide)
    block.slices.append(columns(output, wide))
    block.slices += _tables(module, parent, size, each)
    _count_heads(block, (*WIDTHS, *widths), reads_config)
    return block


def _tables(module: nn.Module, parent: nn.Module | None, size: int, each: int) -> list[Slice]:
    """Tables of relative positions with a column for each head."""
    beside = child(parent, "relative_position_bias") if parent is not None else None
    owners = dict.fromkeys([*module.modules(), *([] if beside is None else beside.modules())])
    named = [(owner, TABLE) for owner in owners if isinstance(getattr(owner, TABLE, None), Tensor)]
    embedded = child(module, "relative_attention_bias")
    if isinstance(embedded, nn.Embedding):
        named.append((embedded, "weight"))
    return [
        Slice(owner, name, 1, each) for owner, name in named if getattr(owner, name).shape[1] == size * each
    ]


def feed_forward_block(module: nn.Module) -> Block | None:
    """The FFN that a module holds; ``None`` where it holds none."""
    experts = _experts(module)
    if experts is not None:
        return experts
    for kind, layouts in (("gated", GATED), ("one", GATED_IN_ONE), ("plain", PLAIN)):
        found = _children(module, layouts)
        if found is None:
            continue
        *inputs, output = found
        size = width_in(output)
        if kind == "one":
            if width_out(inputs[0]) != 2 * size:
                continue
            units = torch.arange(size)
            slices = rows(inputs[0], index=torch.stack([units, size + units], 1))
        elif all(width_out(matrix) == size for matrix in inputs):
            slices = [piece for matrix in inputs for piece in rows(matrix)]
        else:
            continue
        block = Block("ffn", module, size, [*slices, columns(output)], [Gate(output)], output, tuple(inputs))
        _count(block, module, ("intermediate_size", "intermediate_dim", "ffn_dim"), size, 1)
        return block
    return None


def find_blocks(
    layer: nn.Module,
    attention: Callable[[nn.Module, nn.Module | None], Block | None],
    feed_forward: Callable[[nn.Module], Block | None] = feed_forward_block,
) -> Iterator[Block]:
    """All attentions and FFNs of a layer, in the order of its modules, each matrix in one of them at most."""
    modules = dict(layer.named_modules())
    taken: set[nn.Module] = set()
    found: list[Block] = []
    for make in (
        lambda path, module: attention(module, modules.get(path.rpartition(".")[0]) if path else None),
        lambda path, module: feed_forward(module),
    ):
        for path, module in modules.items():
            block = make(path, module)
            if block is None:
                continue
            own = {*block.inputs, block.output}
            if not own & taken:
                taken |= own
                block.path = path
                found.append(block)
    yield from found


def _children(module: nn.Module, layouts: Sequence[tuple[str, ...]]) -> tuple[nn.Module, ...] | None:
    """The matrices of the first layout that a module has."""
    if not module._modules:  # most have none, and this is asked of every module
        return None
    for names in layouts:
        found: list[nn.Module] = []
        for name in names:
            matrix = child(module, name)
            if matrix is None or not is_matrix(matrix):
                break
            found.append(matrix)
        else:
            return tuple(found)
    return None


def _output(module: nn.Module, parent: nn.Module | None) -> nn.Module | None:
    places = [(module, name) for name in OUTPUTS]
    if parent is not None:
        places += [(parent, "output.dense"), *((parent, name) for name in OUTPUTS)]
    return next((m for owner, name in places if is_matrix(m := child(owner, name))), None)


def _head_dim(module: nn.Module, parent: nn.Module | None) -> int | None:
    for owner in (module, parent):
        for name in HEAD_DIMS:
            value = getattr(owner, name, None)
            if type(value) is int and value > 0:
                return value
    return None


def _is_made_with_one_key(module: Any) -> bool:
    """Whether all queries shared one key and value from the beginning, and not since others were removed."""
    if hasattr(module, "multi_query"):
        return bool(module.multi_query) and not getattr(module, "new_decoder_architecture", False)
    config = getattr(module, "config", None)
    return any(getattr(config, name, None) == 1 for name in KEY_COUNTS)


def _fused_index(fused: Fused, size: int, each: int, width: int, shared: bool) -> Tensor:
    """Rows of each unit in a matrix that makes queries, keys and values: int64 ``[size, k]``."""
    units, inside = torch.arange(size)[:, None], torch.arange(width)
    wide = torch.arange(each * width)
    if shared:  # the key and the value come last, and are everybody's
        return units * width + inside
    if fused == "heads":
        whole = (each + 2) * width
        return units * whole + torch.arange(whole)
    keys = size * each * width + units * width + inside
    return torch.cat([units * each * width + wide, keys, keys + size * width], 1)


def _count_heads(block: Block, widths: Sequence[str], reads_config: Sequence[str]) -> None:
    module, size = block.module, block.size
    _count(block, module, QUERY_COUNTS, size * block.queries, block.queries)
    if block.keys:
        _count(block, module, KEY_COUNTS, size, 1)
    elif type(vars(module).get(RATIO)) is int:
        block.counts[module, RATIO] = 1
    _count(block, module, widths, size * block.queries * block.head_dim, block.queries * block.head_dim)
    for name in reads_config:
        block.counts[module, f"config.{name}"] = block.queries


def _count(block: Block, module: nn.Module, names: Sequence[str], value: int, each: int) -> None:
    """Note the numbers of these names that a module keeps, where they are what is expected of them."""
    for name in names:
        if vars(module).get(name) == value:
            block.counts[module, name] = each


def fit_experts(module: nn.Module) -> None:
    """Have experts run one after the other where the kernel for all at once does not take their sizes.

    It wants rows of a multiple of 16 bytes, and no double precision. Other modules are left alone.
    """
    config = getattr(module, "config", None)
    if not is_experts(module) or getattr(config, "_experts_implementation", None) != "grouped_mm":
        return
    rows_of: Any = module.down_proj
    if rows_of.dtype == torch.float64 or rows_of.shape[2] * rows_of.element_size() % 16:
        config._experts_implementation = "eager"  # type: ignore[union-attr]


def _experts(module: nn.Module) -> Block | None:
    """The experts that one module holds in two tensors ``[E, 2 I, H]`` and ``[E, H, I]``.

    A unit is one neuron of every expert, by its place: all experts of a layer are equally wide.
    """
    into, out = (vars(module).get("_parameters", {}).get(name) for name in ("gate_up_proj", "down_proj"))
    act = child(module, "act_fn")
    if into is None or out is None or act is None or into.dim() != 3 or out.dim() != 3:
        return None
    size = out.shape[2]
    if into.shape[1] != 2 * size:
        return None
    units = torch.arange(size)
    halves = torch.stack([units, size + units], 1)
    block = Block(
        "ffn",
        module,
        size,
        [Slice(module, "gate_up_proj", 1, 2, halves), Slice(module, "down_proj", 2)],
        [Gate(act, "output")],
        module,
        (module,),
    )
    _count(block, module, ("intermediate_dim", "intermediate_size"), size, 1)
    return block
