"""The sums of terms by which time is predicted."""

from collections.abc import Callable
from dataclasses import dataclass

from timm_regnet_ds.complexity import Complexity

__all__ = ["FORMS", "Form", "bytes_format"]

# Number formats in which a model's bytes are those of another.
_SAME_BYTES = {"tf32": "fp32", "fp16": "bf16", "amp_bf16": "amp"}


def bytes_format(dtype: str) -> str:
    """The number format whose bytes are those of a number format: ``amp`` for ``amp_bf16``."""
    return _SAME_BYTES.get(dtype, dtype)


@dataclass(frozen=True)
class Form:
    """A weighted sum of terms of a model's complexity.

    Attributes:
        name: name of the form.
        terms: names of the terms.
        units: for each term, by how much it is multiplied in texts, and what it then counts.
        values: the value of each term for a model and a number of images.
        needs_bytes: whether a term counts bytes, which depend on the number format.
    """

    name: str
    terms: tuple[str, ...]
    units: tuple[tuple[float, str], ...]
    values: Callable[[Complexity, int], list[float]]
    needs_bytes: bool = False


def _bytes(c: Complexity, batch: int) -> list[float]:
    dense, others = c.flops - c.grouped_flops, c.bytes - c.product_bytes
    per_image = (dense, c.grouped_flops, c.product_bytes, others)
    return [*(float(batch * value) for value in per_image), float(c.weight_bytes), float(c.operators), 1.0]


def _flops_and_acts(c: Complexity, batch: int) -> list[float]:
    return [float(batch * c.flops), float(batch * c.acts), float(c.params), float(c.operators), 1.0]


_CALL = (1.0, "call")
_OPERATOR = (1.0, "operator")
_GF = (1e9, "GF")
_GB_OF_PRODUCTS = (1e9, "GB of products")

FORMS = {
    form.name: form
    for form in (
        # t = f1·flops + f2·flops of grouped convolutions + m1·bytes of products + m2·bytes of other operators
        #     + w·bytes that do not depend on the batch + n·operators + c
        Form(
            "bytes",
            ("flops", "grouped flops", "product bytes", "other bytes", "weight bytes", "operators", "call"),
            (
                _GF,
                (1e9, "GF in groups"),
                _GB_OF_PRODUCTS,
                (1e9, "GB of others"),
                (1e9, "GB of weights"),
                _OPERATOR,
                _CALL,
            ),
            _bytes,
            needs_bytes=True,
        ),
        Form(
            "flops-acts",
            ("flops", "acts", "params", "operators", "call"),
            (_GF, (1e6, "M acts"), (1e6, "M params"), _OPERATOR, _CALL),
            _flops_and_acts,
        ),
        # For comparison.
        Form("flops", ("flops", "call"), (_GF, _CALL), lambda c, batch: [float(batch * c.flops), 1.0]),
        Form("acts", ("acts", "call"), ((1e6, "M acts"), _CALL), lambda c, batch: [float(batch * c.acts), 1.0]),
    )
}
