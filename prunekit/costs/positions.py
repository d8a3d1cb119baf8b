"""How often one example uses each matrix of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GenericForSequenceClassification, GenericForTokenClassification
from transformers.pytorch_utils import Conv1D

from ..architectures import architecture_of, backbone_of
from ..errors import UnsupportedModelError
from ..exits.certainty import ExitCertainty
from ..exits.heads import ExitHead
from ..modes import evaluating

LINEAR = (nn.Linear, Conv1D)


def transformer_positions(model: nn.Module, tokens: int) -> dict[nn.Module, float]:
    """How often one example of ``tokens`` tokens uses each linear module of a transformer.

    Inside the backbone, and in an output embedding, once a token; in its pooler, and outside of it in
    exits and heads, once. The query of an exit's learned pooling counts twice a token: for the score,
    and for the weighted mean, which is a product of the same size. The layer that says how sure exits are
    serves every one of them.

    Raises:
        UnsupportedModelError: the model is of no registered architecture.
    """
    architecture_of(model)  # raises for what is no known transformer
    backbone = backbone_of(model)
    once = getattr(backbone, "pooler", None)
    pooler = set(once.modules()) if isinstance(once, nn.Module) else set()
    output = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
    each_token = (set(backbone.modules()) - pooler) | {output}
    if isinstance(model, (GenericForSequenceClassification, GenericForTokenClassification)):
        # Decoders classify every token, and choose one afterwards.
        each_token |= {model.score}
    positions: dict[nn.Module, float] = {
        module: tokens if module in each_token else 1
        for module in model.modules()
        if isinstance(module, LINEAR)
    }
    for head in model.modules():
        if isinstance(head, ExitHead) and head.query is not None:
            positions[head.query] = 2 * tokens
    heads = sum(isinstance(module, ExitHead) for module in model.modules())
    positions.update({m.linear: heads for m in model.modules() if isinstance(m, ExitCertainty)})
    return positions


def is_transformer(model: nn.Module) -> bool:
    """Whether the model is of a registered architecture."""
    try:
        architecture_of(model)
    except UnsupportedModelError:
        return False
    return True


def query_modules(model: nn.Module) -> set[nn.Module]:
    """The query matrices of a transformer, whose width the attention products have; none elsewhere."""
    if not is_transformer(model):
        return set()
    architecture = architecture_of(model)
    return {architecture.attention(layer).query for layer in architecture.layers(backbone_of(model))}


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
