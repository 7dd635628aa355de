"""Models on the Hugging Face Hub: timm's own push, with weights as safetensors and a card that states the complexity.

What is pushed comes back with ``timm.create_model("hf-hub:user/name", pretrained=True)``.
"""

from functools import partial
from typing import Any

from timm.models import create_model, push_to_hf_hub
from torch import nn

from timm_regnet_ds.complexity import Complexity, Counts, build_without_weights, measure
from timm_regnet_ds.models import list_models
from timm_regnet_ds.scaling.building.timm_args import shapes_of

try:
    from timm.models import get_model_args
except ImportError:  # timm < 1.0.31 does not keep the arguments that a model was created with

    def get_model_args(model: nn.Module, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
        return {**getattr(model, "_model_args", {}), "num_classes": model.num_classes, **(overrides or {})}


__all__ = ["model_card", "push_to_hub"]

# Cards are ASCII: timm < 1.0.31 writes them in the encoding of the machine.
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

# By the beginning of the architecture's name; the first that fits.
_PAPERS = {
    "regnetz": [_SCALING],
    "regnet": [_REGNET],
    "anynet": [_REGNET],
    "rexnet": [_REXNET],
    "efficientnet_b0_": [_SCALING],
    "scaled": [_SCALING],
}


def model_card(model: nn.Module, repo_id: str = "user/name", **fields: Any) -> dict[str, Any]:
    """What timm's ``push_to_hf_hub`` takes as ``model_card``: description, complexity table, usage, citation.

    Args:
        model: a timm model.
        repo_id: where it will be found; for the example of use.
        **fields: fields of timm's card that replace these or come beside them; ``details`` are added to these, and
            below a ``description`` the complexity table remains.

    Raises:
        TypeError: ``model`` is no timm model.
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
    """``timm.models.push_to_hf_hub`` with weights as safetensors and nothing else, and with `model_card`.

    Args:
        model: a timm model.
        repo_id: ``user/name``. A README.md that is already there stays as it is.
        safe_serialization: True.
        **kwargs: of timm's function: ``private``, ``revision``, ``commit_message`` …; ``model_card`` is a dict of
            fields for `model_card`, ``model_args`` are needed where timm does not know with which arguments the
            model was created.

    Returns:
        huggingface_hub's description of the commit.

    Raises:
        TypeError: ``model`` is no timm model.
        ValueError: another ``safe_serialization``, or a model that ``create_model`` would not build again from its
            name and arguments; nothing has been pushed then.
    """
    if safe_serialization is not True:
        raise ValueError(f"weights are pushed as safetensors only: safe_serialization=True, not {safe_serialization!r}")
    name = _architecture(model)
    args = get_model_args(model, kwargs.pop("model_args", None))
    _check_rebuilt(model, name, args)
    card = model_card(model, repo_id, **(kwargs.pop("model_card", None) or {}))
    return push_to_hf_hub(model, repo_id, model_card=card, model_args=args, safe_serialization=True, **kwargs)


def _architecture(model: nn.Module) -> str:
    try:
        return model.pretrained_cfg["architecture"]  # type: ignore[index, return-value]
    except (AttributeError, KeyError, TypeError):
        raise TypeError(f"a model from timm.create_model is needed, not {type(model).__name__}") from None


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
    how = args["strategy"] if "strategy" in args else f"alpha = {args['alpha']:g}"
    return f"`{args['base']}` scaled by {how}, factor {args.get('factor', args.get('resolved')):g}"


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
    lines = [
        f"For one image of {size}. Flops are the multiply-adds of convolutions, linear layers and matrix products,",
        "acts the elements of their outputs; the rows below the first are the model's parts.",
        "",
        "| | flops | params | acts |",
        "|:--|--:|--:|--:|",
        *(_row(part or name, counts) for part, counts in complexity.by_module(depth=1).items()),
    ]
    if complexity.uncounted:
        lines += ["", f"Not counted: {', '.join(complexity.uncounted)}."]
    return "\n".join(lines)


def _row(label: str, counts: Counts) -> str:
    return f"| {label} | {counts.flops:,} | {counts.params:,} | {counts.acts:,} |"


def _usage(name: str, repo_id: str) -> str:
    needed = "  # with timm-regnet-ds installed" if name in list_models() else ""
    return f"""```python
import timm{needed}

model = timm.create_model("hf-hub:{repo_id}", pretrained=True).eval()
```"""
