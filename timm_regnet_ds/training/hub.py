"""Models on the Hugging Face Hub: timm's own push, with weights as safetensors and a card that states the complexity.

``timm.create_model("hf-hub:user/name", pretrained=True)`` loads a model that was pushed.
"""

from functools import partial
from typing import Any

import timm
from timm.models import create_model, push_to_hf_hub
from torch import nn

from timm_regnet_ds.complexity import Complexity, build_without_weights, measure
from timm_regnet_ds.files.tables import markdown
from timm_regnet_ds.models import list_models
from timm_regnet_ds.scaling.arithmetic.strategy import describe_scaling
from timm_regnet_ds.scaling.building.timm_args import shapes_of

__all__ = ["model_card", "push_to_hub"]

# Cards are ASCII, since timm < 1.0.31 writes them in the machine's default encoding.
_REGNET = r"""@inproceedings{Radosavovic2020,
  title={Designing Network Design Spaces},
  author={Radosavovic, Ilija and Kosaraju, Raj Prateek and Girshick, Ross and He, Kaiming and Doll{\'a}r, Piotr},
  booktitle={CVPR},
  year={2020}
}"""
_SCALING = r"""@inproceedings{Dollar2021,
  title={Fast and Accurate Model Scaling},
  author={Doll{\'a}r, Piotr and Singh, Mannat and Girshick, Ross},
  booktitle={CVPR},
  year={2021}
}"""
_REXNET = """@inproceedings{Han2021,
  title={Rethinking Channel Dimensions for Efficient Model Design},
  author={Han, Dongyoon and Yun, Sangdoon and Heo, Byeongho and Yoo, YoungJoon},
  booktitle={CVPR},
  year={2021}
}"""

# Citations by the beginning of the architecture's name. The first entry that matches is used.
_PAPERS = {
    "regnetz": [_SCALING],
    "regnet": [_REGNET],
    "anynet": [_REGNET],
    "rexnet": [_REXNET],
    "efficientnet_b0_": [_SCALING],
    "scaled": [_SCALING],
}


def model_card(model: nn.Module, repo_id: str = "user/name", **fields: Any) -> dict[str, Any]:
    """The argument ``model_card`` of timm's ``push_to_hf_hub``: description, complexity table, usage, citation.

    Args:
        model: a timm model.
        repo_id: the repository that the card's example loads.
        **fields: fields of timm's card, which replace or extend these. ``details`` are added to this function's, and
            the complexity table follows the ``description``.

    Raises:
        TypeError: ``model`` is not a timm model.
    """
    name = _architecture(model)
    complexity = measure(model)
    description = fields.pop("description", f"{_title(model, name)}, an image classification model for timm.")
    card = {
        "license": model.pretrained_cfg.get("license") or "apache-2.0",  # type: ignore[operator, union-attr]
        "description": f"{description}\n\n## Complexity\n{_complexity_text(name, complexity)}",
        "details": _details(model, name, complexity) | fields.pop("details", {}),
        "usage": _usage(name, repo_id),
    }
    papers = next((papers for start, papers in _PAPERS.items() if name.startswith(start)), None)
    return card | ({"citation": papers} if papers else {}) | fields


def push_to_hub(model: nn.Module, repo_id: str, *, safe_serialization: bool = True, **kwargs: Any) -> Any:
    """Push a model with ``timm.models.push_to_hf_hub``: weights as safetensors only, and a card from `model_card`.

    Args:
        model: a timm model.
        repo_id: ``user/name``. If the repository has a README.md, it is not changed.
        safe_serialization: must be True.
        **kwargs: arguments of timm's function: ``private``, ``revision``, ``commit_message`` …. ``model_card`` is a
            dict of fields for `model_card`. ``model_args`` is needed if timm did not record the arguments that the
            model was created with.

    Returns:
        huggingface_hub's ``CommitInfo``.

    Raises:
        TypeError: ``model`` is not a timm model.
        ValueError: ``safe_serialization`` is not True, or ``create_model`` does not build this model from its name
            and arguments. Nothing has been pushed then.
    """
    if safe_serialization is not True:
        raise ValueError(f"weights are pushed as safetensors only: safe_serialization=True, not {safe_serialization!r}")
    name = _architecture(model)
    args = _model_args(model, kwargs.pop("model_args", None))
    _check_rebuilt(model, name, args)
    card = model_card(model, repo_id, **(kwargs.pop("model_card", None) or {}))
    return push_to_hf_hub(model, repo_id, model_card=card, model_args=args, safe_serialization=True, **kwargs)


def _model_args(model: Any, overrides: dict[str, Any] | None) -> dict[str, Any]:
    """Arguments of ``create_model`` with which the model was created, as timm saves them."""
    of_timm = getattr(timm.models, "get_model_args", None)  # since timm 1.0.31
    if of_timm:
        args: dict[str, Any] = of_timm(model, overrides)
        return args
    return {**getattr(model, "_model_args", {}), "num_classes": model.num_classes, **(overrides or {})}


def _architecture(model: nn.Module) -> str:
    try:
        return model.pretrained_cfg["architecture"]  # type: ignore[index, return-value]
    except (AttributeError, KeyError, TypeError):
        raise TypeError(f"model must come from timm.create_model, not {type(model).__name__}") from None


def _check_rebuilt(model: nn.Module, name: str, args: dict[str, Any]) -> None:
    call = f"create_model({', '.join([repr(name), *(f'{key}={value!r}' for key, value in args.items())])})"
    advice = "pass the arguments that it was created with as model_args"
    try:
        wanted, found = shapes_of(model), shapes_of(build_without_weights(partial(create_model, name, **args)))
    except Exception as error:
        raise ValueError(f"{call} does not build this model: {error}; {advice}") from error
    different = [key for key in sorted(wanted | found) if wanted.get(key) != found.get(key)]
    if different:
        key = different[0]
        raise ValueError(f"{call} builds another model: {key} is {found.get(key)}, not {wanted.get(key)}; {advice}")


def _title(model: nn.Module, name: str) -> str:
    args = getattr(model, "_model_args", {})
    if name != "scaled" or "base" not in args:
        return f"`{name}`"
    strategy = args.get("strategy", {})
    label = strategy.get("name") if isinstance(strategy, dict) else strategy  # a dict is the user's own strategy
    how = label or f"alpha = {args['alpha']:g}"
    return describe_scaling(f"`{args['base']}`", how, args["factor"] if "factor" in args else args["resolved"])


def _details(model: nn.Module, name: str, complexity: Complexity) -> dict[str, Any]:
    stats = {
        "GMACs": f"{complexity.flops / 1e9:.4g}",
        "Params (M)": f"{complexity.params / 1e6:.4g}",
        "Activations (M)": f"{complexity.acts / 1e6:.4g}",
        "Image size": " x ".join(map(str, complexity.input_size[1:])),
    }
    return {"Architecture": name, "Classes": model.num_classes, "Model Stats": stats}


def _complexity_text(name: str, complexity: Complexity) -> str:
    size = " x ".join(map(str, complexity.input_size))
    table = markdown(
        ("", "flops", "params", "acts"),
        (
            (part or name, f"{counts.flops:,}", f"{counts.params:,}", f"{counts.acts:,}")
            for part, counts in complexity.by_module(depth=1).items()
        ),
    )
    uncounted = f"\n\nNot counted: {', '.join(complexity.uncounted)}." if complexity.uncounted else ""
    return f"""For one image of {size}. Flops are the multiply-adds of convolutions, linear layers and matrix products,
acts the elements of their outputs. The first row is the model, the others are its parts.

{table}{uncounted}"""


def _usage(name: str, repo_id: str) -> str:
    needed = "  # with timm-regnet-ds installed" if name in list_models() else ""
    return f"""```python
import timm{needed}

model = timm.create_model("hf-hub:{repo_id}", pretrained=True).eval()
```"""
