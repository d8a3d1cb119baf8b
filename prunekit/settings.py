"""What the parts of a recipe have in common: no unknown keys, finite numbers, and no truth value for one."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Settings(BaseModel):
    """Base of a recipe's parts: unknown keys are refused, and numbers that are none."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """``steps: true`` would be read as one step."""
        kind = cls.model_fields[info.field_name or ""].annotation
        numeric = _takes(kind, int) or _takes(kind, float)
        if isinstance(value, bool) and numeric and not _takes(kind, bool):
            raise ValueError(f"{str(value).lower()} is not a number")
        return value


def _takes(annotation: Any, kind: type) -> bool:
    """Whether a value of this kind may stand where the annotation is, itself or inside of it."""
    return annotation is kind or any(_takes(part, kind) for part in get_args(annotation))
