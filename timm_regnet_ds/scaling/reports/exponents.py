"""How params and acts grow with flops, fitted and predicted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from timm_regnet_ds.scaling.arithmetic.strategy import Strategy, resolve_strategy
from timm_regnet_ds.scaling.scale import scale
from timm_regnet_ds.scaling.scaled_model import ScaledModel

__all__ = ["FACTORS", "Exponents", "exponents"]

FACTORS = (2.0, 4.0, 8.0, 16.0)


@dataclass(frozen=True)
class Exponents:
    """Growth as a power of the growth of flops.

    Attributes:
        params: of all params.
        body: of those without the classifier, which grows with the width and not with its square.
        acts: of acts.
    """

    params: float
    body: float
    acts: float


def predicted(strategy: Strategy) -> Exponents:
    """Of Eq. 6: (1+α)/2 for params and (2−α)/2 for acts, where there is an α."""
    params = strategy.depth + strategy.width
    return Exponents(params, params, 1 - strategy.width / 2)


def exponents(name: str, strategy: str | float = "dWr", factors: Sequence[float] = FACTORS) -> Exponents:
    """The slopes of the lines through log params and log acts over log flops, by least squares.

    Args:
        name: a model that timm can build.
        strategy: a name of ``STRATEGIES``, or α.
        factors: at which the model is scaled and measured.
    """
    how = resolve_strategy(strategy)
    models = [scale(name, factor, strategy=how) for factor in factors]
    flops = [model.complexity.flops for model in models]
    columns = (
        [model.complexity.params for model in models],
        [model.complexity.params - _classifier_params(model) for model in models],
        [model.complexity.acts for model in models],
    )
    return Exponents(*(float(np.polyfit(np.log(flops), np.log(column), 1)[0]) for column in columns))


def _classifier_params(model: ScaledModel) -> int:
    names = model.pretrained_cfg.get("classifier") or ()
    by_module = model.complexity.by_module()
    return sum(by_module[name].params for name in ([names] if isinstance(names, str) else names) if name in by_module)
