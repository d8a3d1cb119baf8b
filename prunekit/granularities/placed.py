"""Groups of what an architecture finds in its layers."""

from __future__ import annotations

from torch import Tensor, nn

from ..architectures import Place, backbone_of, prunable_architecture
from ..architectures.blocks import Kind
from ..errors import UnsupportedModelError
from ..groups import Group, SlicedGroup


class PlacedGroup(SlicedGroup):
    """The units of one attention or FFN; the numbers that its modules keep of them follow."""

    def __init__(self, place: Place, granularity: str) -> None:
        block = place.block
        super().__init__(
            f"{place.name}.{granularity}",
            granularity,
            block.size,
            layer=place.layer,
            gates=block.gates,
            slices=block.slices,
        )
        self._block = block
        block.sync(block.size)

    def keep(self, indices: Tensor) -> None:
        super().keep(indices)
        self._block.sync(self.size)


def placed_groups(model: nn.Module, kind: Kind, granularity: str) -> list[Group]:
    """One group for every attention, or FFN, of a model.

    Raises:
        UnsupportedModelError: the family is not known, or has none.
    """
    architecture = prunable_architecture(model, kind)
    architecture.check(backbone_of(model), kind)
    places = architecture.places(backbone_of(model))
    groups: list[Group] = [PlacedGroup(place, granularity) for place in places if place.block.kind == kind]
    if not groups:
        raise UnsupportedModelError(
            f"{type(model).__name__} has no {granularity} that can be removed", "leave this granularity out"
        )
    return groups
