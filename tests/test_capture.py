"""What timm would build from: found without building, timm left as it was."""

import sys
import threading

import pytest
import timm
from timm.models import build_model_with_cfg, convnext, resnet
from torch import nn

from timm_regnet_ds.scaling.building.capture import capture, intercept_builds


def holders():
    return [m for m in list(sys.modules.values()) if "build_model_with_cfg" in getattr(m, "__dict__", {})]


def assert_as_it_was():
    # `torch.ops` and the like answer to any name: only what modules hold counts.
    assert all(m.build_model_with_cfg is build_model_with_cfg for m in holders())
    assert len(holders()) > 50


def test_it_finds_class_and_arguments():
    build = capture("convnext_tiny", num_classes=7)
    assert build.model_cls is convnext.ConvNeXt
    assert build.args["dims"] == (96, 192, 384, 768)
    assert build.args["num_classes"] == 7
    assert build.options["feature_cfg"]["out_indices"] == (0, 1, 2, 3)
    assert_as_it_was()


def test_tags_and_arguments_of_the_builder_are_options():
    build = capture("vit_base_patch16_224.mae", features_only=True)
    assert build.options["features_only"]
    assert build.options["pretrained_cfg"] == "mae"
    assert "features_only" not in build.args


@pytest.mark.parametrize("wrong", [{"no_such_argument_of_any_model": 1}, {"img_size": -5}])
def test_timm_is_as_it_was_after_a_build_that_fails(wrong):
    def fail(build):
        return build.model_cls(**build.args)

    with pytest.raises(Exception, match=r".*"), intercept_builds(fail):
        timm.create_model("resnet18", **wrong)
    assert_as_it_was()


def test_an_unknown_name_is_timms_error():
    with pytest.raises(RuntimeError, match="Unknown model"):
        capture("no_such_model")
    assert_as_it_was()


def test_a_model_that_timm_does_not_build_is_said():
    @timm.models.register_model
    def stranger_to_the_builder(pretrained=False, **kwargs):
        return nn.Identity()

    try:
        with pytest.raises(ValueError, match="not built by timm's build_model_with_cfg"):
            capture("stranger_to_the_builder")
    finally:
        from timm.models import _registry

        del _registry._model_entrypoints["stranger_to_the_builder"]


def test_interceptors_compose():
    seen = []

    def pass_on(name):
        def handler(build):
            seen.append(name)
            return build.run()

        return handler

    with intercept_builds(pass_on("outer")), intercept_builds(pass_on("inner")):
        model = timm.create_model("resnet18", device="meta")
    assert seen == ["inner", "outer"]
    assert type(model) is resnet.ResNet
    assert_as_it_was()


def test_other_threads_build_while_some_capture():
    failures = []

    def build():
        for _ in range(5):
            if type(timm.create_model("resnet18", device="meta")) is not resnet.ResNet:
                failures.append("built something else")

    def capture_often():
        for i in range(40):
            name = ("resnet50", "convnext_tiny")[i % 2]
            if capture(name).variant != name:
                failures.append(f"captured something else than {name}")

    threads = [threading.Thread(target=f) for f in (build, capture_often, build, capture_often)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert_as_it_was()
