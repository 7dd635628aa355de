"""The recipes for timm's train.py: their options exist, and their learning rates are those of the papers."""

import argparse
import json
import math
from pathlib import Path

import pytest
import timm
import torch
import yaml
from timm.data import create_transform, resolve_data_config
from timm.optim import create_optimizer_v2, optimizer_kwargs
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler_factory import scheduler_kwargs
from timm.utils import ParseKwargs

import timm_regnet_ds as trd
from timm_regnet_ds.cli import main
from timm_regnet_ds.training.model_kwargs import parse_model_kwargs
from timm_regnet_ds.training.recipes import describe_recipe, list_recipes, recipe_path

OPTIONS = json.loads(Path(__file__).with_name("train_options.json").read_text(encoding="utf-8"))
UPDATES = 4  # of the weights, in an epoch


def load(name):
    return yaml.safe_load(recipe_path(name).read_text(encoding="utf-8"))


def cosine(peak, epochs, warmup):
    return lambda t: peak * t / warmup if t < warmup else peak * (1 + math.cos(math.pi * t / epochs)) / 2


def exponential(peak, epochs, warmup):
    """λ · β^(t/T) with β = 0.02, of Fast and Accurate Model Scaling, footnote 2."""
    return lambda t: peak * t / warmup if t < warmup else peak * 0.02 ** (t / epochs)


# The learning rate at the start of epoch t, for the paper's batch; its batch and weight decay.
PAPERS = {
    "regnet_100ep": (cosine(0.1, 100, 5), 128, 100, 5e-5),
    "efficientnet_100ep": (cosine(0.4, 100, 5), 256, 100, 1e-5),
    "rexnet_400ep": (cosine(0.5, 400, 0), 512, 400, 1e-5),
    **{f"scaling_{n}x": (exponential(2.0, 100 * n, 5), 1024, 100 * n, 2e-5) for n in (1, 2, 4)},
    **{f"scaling_{n}x_efficientnet": (exponential(2.0, 100 * n, 5), 1024, 100 * n, 1e-5) for n in (1, 2, 4)},
}


def arguments(name, batch):
    """The recipe as train.py holds it, with the learning rate that train.py computes for a global batch."""
    args = argparse.Namespace(**load(name))
    ratio = batch / args.lr_base_size
    args.lr = args.lr_base * (ratio**0.5 if args.lr_base_scale == "sqrt" else ratio)
    return args


def learning_rates(args):
    """The learning rate before each update of the weights, by epoch; the optimizer."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    args.momentum = getattr(args, "momentum", 0.9)
    optimizer = create_optimizer_v2(model, **optimizer_kwargs(args))
    scheduler, epochs = create_scheduler_v2(optimizer, **scheduler_kwargs(args), updates_per_epoch=UPDATES)
    rates = []
    for epoch in range(epochs):
        rates.append([])
        for update in range(UPDATES):
            rates[-1].append(optimizer.param_groups[0]["lr"])
            scheduler.step_update(num_updates=epoch * UPDATES + update + 1)
        scheduler.step(epoch + 1)
    return rates, optimizer


@pytest.mark.parametrize("name", PAPERS)
def test_learning_rates_are_the_papers(name):
    formula, batch, epochs, weight_decay = PAPERS[name]
    args = arguments(name, batch)
    rates, optimizer = learning_rates(args)
    assert len(rates) == epochs
    assert [rate[0] for rate in rates] == pytest.approx([formula(t) for t in range(epochs)], rel=1e-9)
    warmup = [rate for epoch in rates[: args.warmup_epochs] for rate in epoch]
    assert warmup == pytest.approx([formula(i / UPDATES) for i in range(len(warmup))])
    if args.sched == "step":
        assert all(len(set(epoch)) == 1 for epoch in rates[args.warmup_epochs :])
        assert args.decay_rate**epochs == pytest.approx(0.02)
    decays = {len(group["params"]): group["weight_decay"] for group in optimizer.param_groups}
    assert sorted(decays.values()) == [0.0, weight_decay]
    assert decays[1] == weight_decay  # the weight of the linear layer; biases and the norm are the other group


def test_the_other_recipes_end_at_zero():
    for name in sorted(list_recipes().keys() - PAPERS.keys()):
        rates, _ = learning_rates(arguments(name, 64))
        peak = max(map(max, rates))
        assert rates[0][0] == 0
        assert rates[1][0] == peak
        assert rates[-1][-1] < 0.01 * peak


@pytest.mark.parametrize("name", list_recipes())
def test_twice_the_batch_scales_the_learning_rate(name):
    args = arguments(name, 64)
    assert "lr" not in load(name)
    growth = arguments(name, 128).lr / args.lr
    assert growth == pytest.approx(2 if args.lr_base_scale == "linear" else math.sqrt(2))


@pytest.mark.parametrize("version", OPTIONS)
def test_train_py_knows_every_option(version):
    assert {"opt", "lr_base", "model_ema", "data_dir", "decay_rate"} <= set(OPTIONS[version])
    for name in list_recipes():
        assert not load(name).keys() - set(OPTIONS[version]), name
        assert all(not isinstance(value, str) or not value[:1].isdigit() for value in load(name).values())


@pytest.mark.parametrize("name", list_recipes())
def test_the_augmentation_is_timms(name):
    recipe = load(name)
    transform = create_transform(
        recipe.get("img_size", 224),
        is_training=True,
        auto_augment=recipe.get("aa"),
        color_jitter=recipe.get("color_jitter", 0.4),
        scale=recipe.get("scale"),
        ratio=recipe.get("ratio"),
        interpolation=recipe.get("train_interpolation", "random"),
        re_prob=recipe.get("reprob", 0.0),
    )
    names = [type(step).__name__ for step in transform.transforms]
    assert ("AutoAugment" in names, "RandAugment" in names) == (name.startswith("scaling"), name.startswith("rexnet"))
    assert ("ColorJitter" in names) == (name == "finetune")


def test_the_command(capsys):
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(list_recipes())
    assert main(["recipes", "path", "scaling_2x"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert main(["recipes", "show", "scaling_2x"]) == 0
    text = capsys.readouterr().out
    assert text == path.read_text(encoding="utf-8")
    assert "Stochastic weight averaging" in text
    assert main(["recipes", "show", "scaling_3x"]) == 2
    assert "unknown recipe 'scaling_3x'; did you mean 'scaling_" in capsys.readouterr().err


def test_model_kwargs_of_timms_scripts():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model-kwargs", nargs="*", default={}, action=ParseKwargs)
    texts = ["base=convnext_tiny", "to=16gf", "depths=[1,2]", "block=x", "factor=2.5", "bias=None"]
    kwargs = {"base": "convnext_tiny", "to": "16gf", "depths": [1, 2], "block": "x", "factor": 2.5, "bias": None}
    assert parser.parse_args(["--model-kwargs", *texts]).model_kwargs == kwargs
    assert parse_model_kwargs(texts) == kwargs
    with pytest.raises(ValueError, match=r"KEY=VALUE.*not '16gf'"):
        parse_model_kwargs(["16gf"])


def test_a_scaled_model_has_its_own_resolution():
    model = timm.create_model("scaled", base="convnext_atto", factor=4, strategy="dwr", device="meta")
    s = trd.scale("convnext_atto", 4, strategy="dwr")
    assert s.input_size != s.base_complexity.input_size
    train = resolve_data_config({"img_size": None, "input_size": None}, model=model)
    test = resolve_data_config({}, model=model, use_test_size=True)
    assert train["input_size"] == s.input_size
    # convnext_atto is tested at 288; sides are multiples of 32.
    assert test["input_size"][1] == pytest.approx(288 * s.input_size[1] / 224, abs=16)


def test_an_image_size_that_the_model_does_not_have():
    args = {"base": "vit_tiny_patch16_224", "factor": 0.1, "strategy": "dw"}
    model, images = timm.create_model("scaled", **args), torch.randn(1, 3, 64, 64)
    with pytest.raises(AssertionError, match="--img-size 64 --model-kwargs img_size=64"):
        model(images)
    sized = timm.create_model("scaled", **args, img_size=64, num_classes=3)
    assert sized(images).shape == (1, 3)
    torch.testing.assert_close(torch.jit.script(sized)(images), sized(images))


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_is_known_by_its_options(name):
    assert describe_recipe(load(name) | {"batch_size": 7, "model": "resnet50"}) == f"`{name}`"
    assert describe_recipe(load(name) | {"drop": 0.3, "epochs": 3}).startswith(f"`{name}` with epochs=3")


def test_options_of_no_recipe():
    assert describe_recipe({}) == ""
    assert describe_recipe({"opt": "lamb", "lr_base": 5e-3, "epochs": 100, "sched": "cosine"}) == ""
