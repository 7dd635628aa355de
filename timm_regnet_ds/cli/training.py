"""Commands about training and sharing: ``recipes``, ``images``, ``push``, ``pull``, ``export``."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from timm.models import create_model

from timm_regnet_ds.common.check import check_int
from timm_regnet_ds.common.text import count, listed
from timm_regnet_ds.complexity import check_name, measure
from timm_regnet_ds.latency.cards import predictor
from timm_regnet_ds.training.card import CardFields
from timm_regnet_ds.training.export import export_onnx
from timm_regnet_ds.training.hub import pull_from_hub, pull_readme, push_to_hub, save_for_hub
from timm_regnet_ds.training.images import check_images
from timm_regnet_ds.training.model_kwargs import explain_arguments, parse_model_kwargs
from timm_regnet_ds.training.recipes import describe_recipe, list_recipes, recipe_path

from .checkpoints import add_checkpoint_options, read

__all__ = ["add_commands"]

# Fields of the card that the user states.
_CARD_HELP = {
    "description": "a sentence that says what the model is",
    "latency": "measured time, with device and setting",
    "recipe": "how it was trained (default: the recipe that the options in the checkpoint are those of)",
    "dataset": "the data that it was trained on",
    "accuracy": "such as '91.2%% top-1'",
    "command": "the command that measured the accuracy",
    "license": "an identifier that the Hub knows",
    "citation": "BibTeX (default: the paper's)",
}


def add_commands(commands: Any) -> None:
    """Add these commands to the parser's."""
    recipes = commands.add_parser("recipes", help="training setups for timm's train.py --config")
    recipes.set_defaults(run=_list)
    actions = recipes.add_subparsers(metavar="ACTION")
    for action, run, text in (
        ("show", _show, "print a recipe; its comments say what train.py cannot do of its paper"),
        ("path", _path, "print the file of a recipe, for train.py --config"),
    ):
        parser = actions.add_parser(action, help=text)
        parser.add_argument("name", metavar="NAME")
        parser.set_defaults(run=run)

    images = commands.add_parser("images", help="check a folder of images for train.py")
    images.add_argument("folder", type=Path, metavar="DIR", help="with the folders train and validation")
    images.add_argument("--workers", type=int, default=4, metavar="N", help="threads (default: 4)")
    images.set_defaults(run=_images)

    push = commands.add_parser("push", help="push a checkpoint to the Hugging Face Hub, with a card")
    push.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="of timm's train.py, or a safetensors file")
    push.add_argument("repo", metavar="REPO", help="user/name")
    push.add_argument("--model", default="", help="timm's name (default: the one in the checkpoint)")
    add_checkpoint_options(push)
    push.add_argument("--stock", action="store_true", help="under timm's own architecture, loadable by timm alone")
    push.add_argument(
        "--on",
        metavar="CARD",
        help="state the latency that a card of 'timm-regnet-ds latency cards', or the JSON of 'latency fit', predicts",
    )
    push.add_argument(
        "--batch-size", type=int, metavar="N", help="with --on: images in the batch (default: the card's)"
    )
    push.add_argument("--private", action="store_true")
    push.add_argument("--output", type=Path, metavar="DIR", help="write the files to DIR and push nothing")
    for name, text in _CARD_HELP.items():
        push.add_argument(f"--{name}", default="", help=text)
    push.set_defaults(run=_push)

    pull = commands.add_parser("pull", help="load a model from the Hub and verify it")
    pull.add_argument("repo", metavar="REPO", help="user/name or user/name@revision")
    pull.add_argument("--output", type=Path, metavar="DIR", help="write the model to DIR")
    pull.set_defaults(run=_pull)

    export = commands.add_parser("export", help="write any timm model as an ONNX file, and check it")
    export.add_argument("model", metavar="MODEL", help="timm's name, such as scaled, or hf-hub:user/name")
    export.add_argument("output", type=Path, metavar="FILE.onnx")
    export.add_argument("--checkpoint", type=Path, help="weights (default: untrained, or those of hf-hub:)")
    add_checkpoint_options(export)
    export.add_argument("--img-size", type=int, metavar="N", help="side of the images (default: the model's own)")
    export.set_defaults(run=_export)


def _list(options: argparse.Namespace) -> None:
    titles = list_recipes()
    width = max(map(len, titles))
    for name, title in titles.items():
        print(f"{name:{width}}  {title}")


def _show(options: argparse.Namespace) -> None:
    print(recipe_path(options.name).read_text(encoding="utf-8"), end="")


def _path(options: argparse.Namespace) -> None:
    print(recipe_path(options.name))


def _images(options: argparse.Namespace) -> int:
    splits = []
    for split in check_images(options.folder, check_int("--workers", options.workers)):
        splits.append(split)
        classes = "1 class" if len(split.classes) == 1 else f"{len(split.classes)} classes"
        print(f"{split.name}: {count(split.images, 'image')}, {classes}, {len(split.broken)} broken")
        for file, reason in split.broken.items():
            print(f"timm-regnet-ds: {file}: {reason}", file=sys.stderr)
    train, validation = (set(split.classes) for split in splits)
    if other := sorted(train ^ validation):
        raise ValueError(f"train and validation have different classes, and so different labels: {listed(other)}")
    return int(any(split.broken for split in splits))


def _push(options: argparse.Namespace) -> None:
    if options.batch_size is not None and (options.on is None or options.latency):
        raise ValueError("--batch-size goes with --on, without --latency")
    checkpoint, model = read(options)
    card = {field.name: getattr(options, field.name) for field in fields(CardFields)}
    card["recipe"] = card["recipe"] or describe_recipe(checkpoint.options)
    if options.on is not None and not card["latency"]:
        on = predictor(options.on)
        milliseconds = on.predict(model, batch_size=options.batch_size)
        about, error = on.about(options.batch_size), on.expected_error(options.batch_size)
        card["latency"] = f"{milliseconds:.3g} ms, predicted for {about} ({error})"
    if options.output is not None:
        save_for_hub(model, options.output, repo_id=options.repo, stock=options.stock, card=card)
        print(f"{options.output}: written, not pushed")
        return
    commit = push_to_hub(model, options.repo, stock=options.stock, card=card, private=options.private)
    print(f"{options.repo}: pushed as {commit.oid[:12]}")


def _export(options: argparse.Namespace) -> None:
    if options.checkpoint is None and (options.no_ema or options.trust):
        raise ValueError("--no-ema and --trust go with --checkpoint")
    if options.checkpoint is not None:
        _, model = read(options, exportable=True)
    else:
        kwargs = {"exportable": True, **parse_model_kwargs(options.model_kwargs)}
        check_name(options.model)
        with explain_arguments(options.model):
            model = create_model(options.model, pretrained=":" in options.model, **kwargs)
    difference = export_onnx(model, options.output, options.img_size)
    print(f"{options.output}: written and checked; its logits differ from the model's by at most {difference:.1g}")


def _pull(options: argparse.Namespace) -> None:
    model = pull_from_hub(options.repo)
    print(f"{options.repo}: {measure(model)}")
    if options.output is not None:
        readme = pull_readme(options.repo)
        save_for_hub(model, options.output, repo_id=options.repo.partition("@")[0], readme=readme)
        print(f"{options.output}: written")
