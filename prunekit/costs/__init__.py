"""The one cost model: parameters and multiply-adds of a model, as it is or at other sizes.

Convention: a multiply-add (MAC) is counted for matrix products and convolutions alone; biases, norms,
activations, softmax, masking, averaging and embedding look-ups are left out. One MAC is two FLOPs. A layer
matrix works once a token, the two attention products take ``T * T`` times the width of the queries each,
and an exit or pooler works once an example. :mod:`prunekit.reports.counting` counts the same by tracing.

Only shapes are read, never weights, so all of it works on the meta device.
"""

from __future__ import annotations

from .model import Cost, CostModel
from .modules import ModuleCost, exit_macs, layer_costs, module_costs, parameter_costs, total_cost

__all__ = [
    "Cost",
    "CostModel",
    "ModuleCost",
    "exit_macs",
    "layer_costs",
    "module_costs",
    "parameter_costs",
    "total_cost",
]
