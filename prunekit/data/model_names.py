"""The names of a model's classes, which are kept where the data's are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..pretrained import described
from ..text import has_surrogates

if TYPE_CHECKING:
    from ..models import ModelConfig


def label_names_of_model(model: ModelConfig) -> list[str] | None:
    """Names of the classes in the order of their numbers, as the model's ``config.json`` has them.

    Returns:
        ``None`` where there are none but transformers' own ``LABEL_0`` and so on, or what is there is no list
        of distinct names; of the built-in encoder, too.

    Raises:
        CheckpointError: the model's ``config.json`` cannot be read.
    """
    if model.is_builtin:
        return None
    found = described(model.name, model.revision).get("id2label")
    if not isinstance(found, dict):
        return None
    names = [found.get(str(number)) for number in range(len(found))]
    if len(names) < 2 or names == [f"LABEL_{number}" for number in range(len(names))]:
        return None
    if not all(isinstance(name, str) and name.strip() and not has_surrogates(name) for name in names):
        return None
    stripped = [str(name).strip() for name in names]
    return stripped if len(set(stripped)) == len(stripped) else None
