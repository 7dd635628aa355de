"""The card of a model on the Hub: what it is, how to load it, what it costs, how it was trained."""

from dataclasses import dataclass, fields, is_dataclass
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

from timm.models import model_entrypoint
from torch import nn

from timm_regnet_ds.common.text import format_size
from timm_regnet_ds.complexity import Complexity, measure
from timm_regnet_ds.files.tables import markdown
from timm_regnet_ds.models import list_models
from timm_regnet_ds.scaling.arithmetic.strategy import describe_scaling
from timm_regnet_ds.scaling.building.base import base_of
from timm_regnet_ds.scaling.building.saved import changes_from_saved

__all__ = ["CardFields", "architecture_of", "card_sections", "front_matter"]

PACKAGE = "timm-regnet-ds"

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
    "regnetz": _SCALING,
    "regnet": _REGNET,
    "anynet": _REGNET,
    "rexnet": _REXNET,
    "efficientnet_b0_": _SCALING,
    "scaled": _SCALING,
}


@dataclass(frozen=True)
class CardFields:
    """What the user states about a model. The card says "not stated" for what is missing.

    Args:
        description: a sentence that replaces the generated one.
        latency: its measured time with device and setting, such as
            ``2.1 ms for one image on one thread of an i7-9700``.
        recipe: how it was trained, such as the name of a recipe.
        dataset: the data that it was trained on; for a dataset of the Hub, its name there.
        accuracy: such as ``91.2% top-1 on the validation images``.
        command: the command that measured the accuracy.
        license: an identifier that the Hub knows; by default that of the pretrained config, or ``apache-2.0``.
        citation: BibTeX; by default that of the architecture's paper.
    """

    description: str = ""
    latency: str = ""
    recipe: str = ""
    dataset: str = ""
    accuracy: str = ""
    command: str = ""
    license: str = ""
    citation: str = ""


def architecture_of(model: nn.Module) -> str:
    """timm's name of a model.

    Raises:
        TypeError: timm did not build the model.
    """
    try:
        return model.pretrained_cfg["architecture"]  # type: ignore[index, return-value]
    except (AttributeError, KeyError, TypeError):
        raise TypeError(f"model must come from timm.create_model, not {type(model).__name__}") from None


def license_of(model: Any, stated: CardFields) -> str:
    """The license that the card states."""
    return stated.license or model.pretrained_cfg.get("license") or "apache-2.0"


def front_matter(model: nn.Module, stated: CardFields) -> str:
    """The YAML at the card's head, by which the Hub finds and shows the model."""
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        library_name="timm",
        license=license_of(model, stated),
        pipeline_tag="image-classification",
        tags=["image-classification", "timm", "transformers"],
        datasets=[stated.dataset] if stated.dataset and " " not in stated.dataset else None,
        metrics=["accuracy"] if stated.accuracy else None,
    )
    return f"---\n{data.to_yaml()}\n---\n"


def card_sections(model: nn.Module, repo_id: str, stated: CardFields, stock: str = "") -> str:
    """The card's text below its title, without the citation.

    Args:
        model: a timm model.
        repo_id: the repository that the card's example loads.
        stated: what the user states.
        stock: timm's architecture under which the model is pushed; empty if it is pushed under its own name.
    """
    name = architecture_of(model)
    needs_package = not stock and name in list_models()
    return f"""{stated.description or _what_it_is(model, name, stock)}

## Install

{_install(needs_package)}

## Use

```python
import timm

model = timm.create_model("hf-hub:{repo_id}", pretrained=True).eval()
```

## Complexity

{_complexity_text(name, measure(model))}

Latency: {stated.latency or f"not measured; `timm-regnet-ds bench hf-hub:{repo_id}` measures it on your device"}.

## Training

- Recipe: {stated.recipe or "not stated"}
- Dataset: {stated.dataset or "not stated"}
- Accuracy: {_accuracy(stated)}

## License

{license_of(model, stated)}
"""


def _accuracy(stated: CardFields) -> str:
    if not stated.command:
        return stated.accuracy or "not stated"
    if not stated.accuracy:
        return f"not stated; `{stated.command}` measures it"
    return f"{stated.accuracy}, measured with `{stated.command}`"


def citation_of(model: nn.Module, stated: CardFields) -> str:
    """BibTeX of the architecture's paper; empty for models of timm."""
    name = architecture_of(model)
    if stated.citation or name not in list_models():
        return stated.citation
    return next((paper for start, paper in _PAPERS.items() if name.startswith(start)), "")


def _what_it_is(model: Any, name: str, stock: str) -> str:
    classes = f"An image classification model for timm with {model.num_classes} classes"
    args = getattr(model, "_model_args", {})
    if name == "scaled" and "base" in args:
        text = f"{classes}: {_title(args)}.{_what_changed(model, args)}"
    elif name in list_models():
        text = f"{classes}: {(model_entrypoint(name).__doc__ or name).rstrip('.')}."
    else:
        text = f"{classes}: `{name}`."
    stock_text = f"It is saved as timm's `{stock}` with arguments, so that timm alone loads it."
    return f"{text} {stock_text}" if stock else text


def _title(args: dict[str, Any]) -> str:
    strategy = args.get("strategy", {})
    label = strategy.get("name") if isinstance(strategy, dict) else strategy  # a dict is the user's own strategy
    how = label or (f"alpha = {args['alpha']:g}" if "alpha" in args else "")
    factor = args.get("factor", args.get("resolved"))
    if factor is None or not how:  # built from a saved model's sizes alone
        return f"`{args['base']}`, scaled"
    return describe_scaling(f"`{args['base']}`", how, factor)


def _what_changed(model: Any, args: dict[str, Any]) -> str:
    """The arguments of the base's class that scaling changed, and the image size."""
    if "sizes" not in args:
        return ""
    base = base_of(args["base"], args.get("base_args", {}), None)
    changes = changes_from_saved(base, args["sizes"]).args
    lines = [line for key, value in changes.items() for line in _changes(key, base.args.get(key), value)]
    before, after = (format_size(size[1:]) for size in (base.input_size, args["sizes"]["input_size"]))
    if before != after:
        lines.append(f"images from {before} to {after}")
    return f" Changed: {'; '.join(lines)}." if lines else ""


def _changes(name: str, before: Any, after: Any) -> list[str]:
    """What differs between two values of an argument; of a config, the fields that differ."""
    if is_dataclass(before) and type(before) is type(after):
        pairs = ((field.name, getattr(before, field.name), getattr(after, field.name)) for field in fields(before))
        return [line for key, old, new in pairs if old != new for line in _changes(key, old, new)]
    texts = repr(before), repr(after)
    return [f"`{name}` from `{texts[0]}` to `{texts[1]}`" if max(map(len, texts)) <= 100 else f"`{name}`"]


def _install(needs_package: bool) -> str:
    if not needs_package:
        return "```sh\npip install timm\n```"
    return f"```sh\npip install timm {PACKAGE}\n```{_where()}"


def _where() -> str:
    """A line with the addresses that the installed package states; empty if it states none."""
    try:
        urls = metadata(PACKAGE).get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    return "\n\n" + "\n".join(f"- {label}: {url}" for label, url in (u.split(", ", 1) for u in urls)) if urls else ""


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
