"""Tiny models of every known family, with random weights, for tests."""

from __future__ import annotations

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
)

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "vocab_size": 90,
}
ENCODERS = {
    "bert": SIZES,
    "roberta": SIZES | {"pad_token_id": 1},
    "xlm-roberta": SIZES | {"pad_token_id": 1},
    "camembert": SIZES | {"pad_token_id": 1},
    "electra": SIZES | {"embedding_size": 24},
    "distilbert": {
        "dim": 32,
        "n_layers": 3,
        "n_heads": 4,
        "hidden_dim": 48,
        "max_position_embeddings": 64,
        "vocab_size": 90,
    },
}
DECODERS = {
    "llama": SIZES
    | {"num_attention_heads": 8, "num_key_value_heads": 4, "tie_word_embeddings": False, "head_dim": 4},
    "mistral": SIZES | {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8},
}
FAMILIES = ENCODERS | DECODERS


def config(family: str, **changes: object) -> object:
    return AutoConfig.for_model(family, **(FAMILIES[family] | changes))


def backbone(family: str, seed: int = 0, **changes: object) -> nn.Module:
    torch.manual_seed(seed)
    return AutoModel.from_config(config(family, **changes)).eval()


def task_model(family: str, seed: int = 0, **changes: object) -> nn.Module:
    """A classifier, or a language model where the family is a decoder."""
    torch.manual_seed(seed)
    auto = AutoModelForCausalLM if family in DECODERS else AutoModelForSequenceClassification
    return auto.from_config(config(family, **changes)).eval()


def batch(size: int = 5, length: int = 11, seed: int = 1, vocab_size: int = 90) -> dict[str, torch.Tensor]:
    """Random token ids with padding at the end of some rows; the first row is whole."""
    generator = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(5, vocab_size, (size, length), generator=generator)
    lengths = torch.randint(2, length + 1, (size,), generator=generator)
    lengths[0] = length
    mask = (torch.arange(length)[None] < lengths[:, None]).long()
    return {"input_ids": torch.where(mask == 1, input_ids, 1), "attention_mask": mask}
