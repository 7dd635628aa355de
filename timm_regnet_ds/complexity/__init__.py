"""Flops, parameters, activations and bytes of any module, counted at torch's dispatcher without allocating weights.

*Fast and Accurate Model Scaling*, §3: a k×k convolution of width w at resolution r has f = w²r²k², p = k²w²,
a = wr² (Eq. 1), and a stage of d of them has d times as much (Eq. 2). With groups of width g, and k = 1, it has
f = wgr², p = wg, a = wr² (Eq. 3). Linear layers and matrix products are counted in the same way:

| word   | for one image                                                                                         |
|--------|-------------------------------------------------------------------------------------------------------|
| flops  | multiply-adds of convolutions, linear layers and matrix products (attention included), without biases |
| params | elements of all parameters; a shared parameter is counted once                                        |
| acts   | elements of the outputs of those same operations                                                      |
| bytes  | what all operators read and write, views excluded, in the number format ``dtype``                     |

``bytes`` grow with the batch. ``weight_bytes`` do not: they are of weights and of what is computed from weights alone.
The operators are those of torch's dispatcher in eager mode, where no two are fused.

``torch.utils.flop_counter`` counts at the dispatcher too, but two flops per multiply-add, and no acts.

>>> c = measure("regnety_002")
>>> c.flops, c.params, c.acts
(199514080, 3162996, 2168052)
>>> c.by_operator()["conv"].flops, c.by_module(depth=1)["s4"].params
(199146080, 2511454)
>>> c.bytes, c.weight_bytes, measure("regnety_002", dtype="amp").bytes
(61559456, 12735376, 31682896)
"""

from ._measure import check_name, measure, measure_factory
from ._meta import build_without_weights
from ._operators import register_formula
from ._results import ZERO_COUNTS, Breakdown, Complexity, Counts, ModuleCounts, ThopAnswer
from ._units import UNITS, Unit

__all__ = [
    "UNITS",
    "ZERO_COUNTS",
    "Breakdown",
    "Complexity",
    "Counts",
    "ModuleCounts",
    "ThopAnswer",
    "Unit",
    "build_without_weights",
    "check_name",
    "measure",
    "measure_factory",
    "register_formula",
]
