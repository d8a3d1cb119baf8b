"""The sizes that modules write down beside their parameters."""

from __future__ import annotations

from torch import nn
from transformers.pytorch_utils import Conv1D


def follow(module: nn.Module) -> None:
    """Set the sizes that a module writes down (``in_features``, ``nf``, ...) to its parameters' shapes.

    Modules of other types keep no such sizes that are known here, and stay as they are.
    """
    if isinstance(module, nn.modules.batchnorm._NormBase):
        # Without weights, only the running statistics say it.
        values = module.weight if module.weight is not None else module.running_mean
        if values is not None:
            module.num_features = values.shape[0]
        return
    weight = getattr(module, "weight", None)
    if weight is None:
        return
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = weight.shape
    elif isinstance(module, Conv1D):
        module.nx, module.nf = weight.shape
    elif isinstance(module, nn.modules.conv._ConvNd):
        _follow_convolution(module)
    elif isinstance(module, nn.GroupNorm):
        module.num_channels = weight.shape[0]
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
        module.normalized_shape = tuple(weight.shape)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = weight.shape[0]
    elif isinstance(module, nn.Embedding | nn.EmbeddingBag):
        module.num_embeddings, module.embedding_dim = weight.shape


def _follow_convolution(module: nn.modules.conv._ConvNd) -> None:
    first, second = module.weight.shape[:2]
    # A depthwise convolution has as many groups as channels; any other keeps its groups.
    if module.groups > 1 and module.in_channels == module.out_channels == module.groups:
        module.groups = first
    if module.transposed:
        module.in_channels, module.out_channels = first, second * module.groups
    else:
        module.out_channels, module.in_channels = first, second * module.groups
