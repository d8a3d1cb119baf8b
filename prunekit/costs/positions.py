"""How often one example uses each matrix of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ..architectures import architecture_of, backbone_of
from ..architectures.blocks import multiplies
from ..errors import UnsupportedModelError
from ..exits.certainty import ExitCertainty
from ..exits.heads import ExitHead
from ..modes import evaluating

LINEAR = (nn.Linear, Conv1D)
_OF_TOKENS = ("TokenClassification", "QuestionAnswering", "MaskedLM", "CausalLM", "ConditionalGeneration")


def transformer_positions(model: nn.Module, tokens: int) -> dict[nn.Module, float]:
    """How often one example of ``tokens`` tokens uses each linear module of a transformer.

    Inside the backbone, and in an output embedding, once a token; in its pooler, and outside of it in
    exits and heads, once. The query of an exit's learned pooling counts twice a token: for the score,
    and for the weighted mean, which is a product of the same size. The layer that says how sure exits are
    serves every one of them.

    Raises:
        UnsupportedModelError: the model is of no registered architecture.
    """
    architecture, backbone = architecture_of(model), backbone_of(model)
    positions = {m: 1.0 for m in model.modules() if multiplies(m)}
    inside = architecture.uses(backbone, tokens)
    once = getattr(backbone, "pooler", None)
    pooler = set(once.modules()) if isinstance(once, nn.Module) else set()
    positions |= {m: n for m, n in inside.items() if m not in pooler}
    output = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
    if output is not None:
        positions[output] = tokens
    # Decoders classify every token, and choose one afterwards.
    each = model if _answers_tokens(model) else getattr(model, "score", None)
    if isinstance(each, nn.Module):
        rest = set(each.modules()) - set(backbone.modules())
        positions |= {m: tokens for m in positions if m in rest}
    for head in model.modules():
        if isinstance(head, ExitHead) and head.query is not None:
            positions[head.query] = 2 * tokens
    heads = sum(isinstance(module, ExitHead) for module in model.modules())
    positions.update({m.linear: heads for m in model.modules() if isinstance(m, ExitCertainty)})
    return positions


def _answers_tokens(model: nn.Module) -> bool:
    """Whether a task's head says something of every token, by the name of its class."""
    return any(word in type(model).__name__ for word in _OF_TOKENS)


def is_transformer(model: nn.Module) -> bool:
    """Whether the model is of a registered architecture."""
    try:
        architecture_of(model)
    except UnsupportedModelError:
        return False
    return True


def attention_pairs(model: nn.Module, tokens: int) -> dict[nn.Module, float]:
    """Pairs of a query and a key in each attention of a transformer: its output matrix -> pairs.

    Each of the two products of an attention takes as many multiply-adds a pair as the output has inputs.
    """
    return architecture_of(model).pairs(backbone_of(model), tokens) if is_transformer(model) else {}


def measured_positions(model: nn.Module, example_inputs: Any) -> dict[nn.Module, float]:
    """How often one example uses each linear module and convolution, seen in one forward call."""
    uses: dict[nn.Module, int] = {}
    args, kwargs = _arguments(example_inputs)
    batch = next(v.shape[0] for v in (*args, *kwargs.values()) if isinstance(v, Tensor))

    def see(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        uses[module] = uses.get(module, 0) + _uses(module, inputs, output)

    kinds = (*LINEAR, nn.modules.conv._ConvNd)
    hooks = [m.register_forward_hook(see) for m in model.modules() if isinstance(m, kinds)]
    try:
        with evaluating(model), torch.no_grad():
            model(*args, **kwargs)
    finally:
        for hook in hooks:
            hook.remove()
    return {module: count / batch for module, count in uses.items()}


def _uses(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> int:
    """How often a call multiplied by the module's weight."""
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return int(inputs[0].numel()) // module.in_channels
    if isinstance(module, nn.modules.conv._ConvNd):
        return output.numel() // module.out_channels
    return output.numel() // output.shape[-1]


def _arguments(example_inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example_inputs, Mapping):
        return (), dict(example_inputs)
    if isinstance(example_inputs, Tensor):
        return (example_inputs,), {}
    return tuple(example_inputs), {}
