"""What `measure` promises: exact counts, a module left as it was, and no silent gaps."""

import contextlib
import copy
import doctest
import importlib
import json
import pickle
import random
import sys
import threading

import pytest
import timm
import torch
import torchvision
from call_module import Call
from calls import params_and_memory_of_measuring
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models import create_model
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations
from torch.utils.flop_counter import FlopCounterMode

from timm_regnet_ds import complexity
from timm_regnet_ds.complexity import Counts, _operators, build_without_weights, measure, register_formula


@pytest.fixture
def thop():
    """The package thop, which is not installed with every environment that collects this file."""
    return pytest.importorskip("thop")


def tokens(x):
    return x.flatten(2).transpose(1, 2)


def flops_acts(model, size):
    c = measure(model, size)
    return c.flops, c.acts


def warns_of_values(expected=True):
    return pytest.warns(UserWarning, match="random image") if expected else contextlib.nullcontext()


# ---------------------------------------------------------------------------------------------- single operations


@pytest.mark.parametrize(
    ("layer", "flops", "acts"),
    [
        (nn.Conv2d(4, 6, 3), 6 * 14 * 14 * 4 * 9, 6 * 14 * 14),
        (nn.Conv2d(4, 6, 3, bias=False), 6 * 14 * 14 * 4 * 9, 6 * 14 * 14),
        (nn.Conv2d(4, 6, 3, groups=2, stride=2, padding=1), 6 * 8 * 8 * 2 * 9, 6 * 8 * 8),
        (nn.Conv2d(4, 4, 5, groups=4, dilation=2), 4 * 8 * 8 * 25, 4 * 8 * 8),
        (nn.Conv2d(4, 6, (3, 1), padding="same"), 6 * 16 * 16 * 4 * 3, 6 * 16 * 16),
        (nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), 6 * 16 * 16 * 4 * 9, 6 * 16 * 16),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), 4 * 16 * 16 * 6 * 4, 6 * 32 * 32),
        (nn.ConvTranspose2d(4, 6, 3, groups=2), 4 * 16 * 16 * 3 * 9, 6 * 18 * 18),
        (Call(lambda m, x: m.conv(x.flatten(2)), conv=nn.Conv1d(4, 6, 3)), 6 * 254 * 4 * 3, 6 * 254),
        (Call(lambda m, x: m.conv(x[:, None]), conv=nn.Conv3d(1, 2, 3)), 2 * 2 * 14 * 14 * 27, 2 * 2 * 14 * 14),
        (Call(lambda m, x: m.fc(tokens(x)), fc=nn.Linear(4, 10)), 256 * 4 * 10, 256 * 10),
        (Call(lambda m, x: m.fc(tokens(x)), fc=nn.Linear(4, 10, bias=False)), 256 * 4 * 10, 256 * 10),
        (Call(lambda m, x: m.fc(x.mean((2, 3))), fc=nn.Linear(4, 10)), 4 * 10, 10),
        (Call(lambda m, x: torch.bmm(x[0], x[0].mT)), 4 * 16**3, 4 * 16**2),
        (Call(lambda m, x: x @ x[0, 0]), 4 * 16**3, 4 * 16**2),
        (Call(lambda m, x: x[0, 0] @ x[0, 0, 0]), 16 * 16, 16),
        (Call(lambda m, x: torch.addmm(x[0, 1], x[0, 0], x[0, 0])), 16**3, 16**2),
        (Call(lambda m, x: torch.baddbmm(x[0], x[0], x[0])), 4 * 16**3, 4 * 16**2),
        (Call(lambda m, x: torch.einsum("nchw,nkhw->nck", x, x)), 4 * 4 * 256, 4 * 4),
        (Call(lambda m, x: m.rnn(tokens(x)), rnn=nn.LSTM(4, 5)), 256 * 20 * (4 + 5), 2 * 256 * 20),
        (Call(lambda m, x: F.softmax(F.max_pool2d(F.gelu(x * x + 1), 2), 1)), 0, 0),
    ],
)
def test_closed_form(layer, flops, acts):
    c = measure(layer, (4, 16, 16))
    assert (c.flops, c.acts) == (flops, acts)
    assert not c.uncounted


@given(
    groups=st.integers(1, 4),
    width=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 2),
    bias=st.booleans(),
    side=st.integers(7, 20),
)
@settings(max_examples=60, deadline=None)
def test_convolutions_follow_equations_1_and_3(groups, width, kernel, stride, padding, dilation, bias, side):
    w_in, w_out = groups * width[0], groups * width[1]
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "bias": bias}
    c = measure(nn.Conv2d(w_in, w_out, kernel, **options), (w_in, side, side))
    h, w = ((side + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for k in kernel)
    k2 = kernel[0] * kernel[1]
    assert c.flops == w_out * h * w * k2 * w_in // groups
    assert c.acts == w_out * h * w
    assert c.params == k2 * w_in * w_out // groups + w_out * bias


# ------------------------------------------------------------------------------------------------------ attention

# CUDA's fused kernels need heads of at least 8 channels in bfloat16.
L, E, H, HIDDEN = 16, 16, 2, 20  # tokens, width, heads, width of the MLP
PRODUCTS = (2 * L * L * E, H * L * L + L * E)  # flops, acts
ATTENTION = (PRODUCTS[0] + 4 * L * E * E, PRODUCTS[1] + 4 * L * E)
ENCODER = (ATTENTION[0] + 2 * L * E * HIDDEN, ATTENTION[1] + L * HIDDEN + L * E)


def qkv(x):
    t = tokens(x).reshape(1, L, H, E // H).transpose(1, 2)
    return t, t, t


def written_out(m, x):
    q, k, v = qkv(x)
    return (q @ k.mT * (E // H) ** -0.5).softmax(-1) @ v


def fused(m, x):
    return F.scaled_dot_product_attention(*qkv(x))


def masked(m, x):
    return F.scaled_dot_product_attention(*qkv(x), torch.zeros(L, L, device=x.device), scale=1.0)


def kernel(name, *arguments):
    def attend(m, x):
        return getattr(torch.ops.aten, name)(*qkv(x), *arguments)[0]

    return pytest.param(attend, id=name)


KERNELS = [
    kernel("_scaled_dot_product_flash_attention_for_cpu"),
    kernel("_scaled_dot_product_flash_attention"),
    kernel("_scaled_dot_product_efficient_attention", None, False),
    kernel("_scaled_dot_product_cudnn_attention", None, False),
]


@pytest.mark.parametrize("attend", [written_out, fused, masked, *KERNELS])
def test_attention_is_both_products_whatever_computes_it(attend):
    assert flops_acts(Call(attend), (E, 4, 4)) == PRODUCTS


def test_attention_with_fewer_keys_and_grouped_heads():
    def attend(m, x):
        q, k = x.reshape(1, 4, 16, 4), x.reshape(1, 2, 32, 4)[:, :, :24]
        return F.scaled_dot_product_attention(q, k, k, enable_gqa=True)

    assert flops_acts(Call(attend), (4, 8, 8)) == (4 * 16 * 24 * (4 + 4), 4 * 16 * 24 + 4 * 16 * 4)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_multihead_attention(need_weights, training):
    def attend(m, x):
        t = tokens(x)
        return m.attn(t, t, t, need_weights=need_weights)[0]

    c = measure(Call(attend, attn=nn.MultiheadAttention(E, H, batch_first=True)).train(training), (E, 4, 4))
    assert (c.flops, c.acts) == ATTENTION
    assert c.by_operator()["linear"].params == c.params == 4 * E * E + 4 * E


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("looks_at_values", [False, True])
def test_encoder_layer_does_not_hide_in_its_fused_path(grad, looks_at_values):
    def encode(m, x):
        if looks_at_values:
            x.sum().item()
        return m.layer(tokens(x))

    model = Call(encode, layer=nn.TransformerEncoderLayer(E, H, HIDDEN, batch_first=True)).eval()
    with torch.set_grad_enabled(grad), warns_of_values(looks_at_values):
        assert flops_acts(model, (E, 4, 4)) == ENCODER


@pytest.mark.filterwarnings("ignore:Call. counted for a random image")
def test_fused_layer_called_by_hand_is_named():
    def attend(m, x):
        t, a = tokens(x), m.attn
        weights = (a.in_proj_weight, a.in_proj_bias, a.out_proj.weight, a.out_proj.bias)
        return torch._native_multi_head_attention(t, t, t, E, H, *weights)[0]

    c = measure(Call(attend, attn=nn.MultiheadAttention(E, H)), (E, 4, 4))
    assert c.uncounted == {"aten::_native_multi_head_attention": 1}


# --------------------------------------------------------------------------------------------------- whole models


def test_vit_and_regnet_as_known():
    assert measure("vit_base_patch16_224").flops == 17_563_828_224
    c = measure("regnety_320")  # the paper's 32.3 B, 145.0 M, 30.3 M
    assert (c.flops, c.params, c.acts) == (32_279_552_832, 145_046_770, 30_261_570)


@pytest.mark.parametrize("name", ["resnet18", "regnety_002", "mobilenetv2_100", "efficientnet_b0", "convnext_atto"])
def test_thop_agrees_on_convolutions_and_linear_layers(name, thop):
    def zero(m, x, y):
        m.total_ops += 0

    model = create_model(name)
    c = measure(model, 64)
    hooks = importlib.import_module("thop.profile").register_hooks
    others = {kind: zero for kind in hooks if not issubclass(kind, (nn.modules.conv._ConvNd, nn.Linear))}
    image = torch.zeros(1, 3, 64, 64)
    flops, _ = thop.profile(copy.deepcopy(model), (image,), custom_ops=others, verbose=False)
    operators = c.by_operator()
    assert operators["conv"].flops + operators["linear"].flops == c.flops == flops


@pytest.mark.parametrize("counted", ["resnet18", "vit_tiny_patch16_224"])
def test_counter_thop_is_thops_own_answer(counted, thop):
    model = create_model(counted)
    flops, params = thop.profile(copy.deepcopy(model), (torch.zeros(1, 3, 224, 224),), verbose=False)
    for either in (counted, model):
        answer = measure(either, counter="thop")
        assert (answer.flops, answer.params) == (flops, params)


SMALL = ["test_vit", "test_convnext", "test_nfnet", "levit_128s", "ghostnet_050", "convit_tiny"]


@pytest.mark.parametrize("name", SMALL)
def test_torchs_own_counter_agrees(name):
    with torch.device("meta"):
        model = create_model(name).eval().requires_grad_(False)
    c = measure(model)
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, *c.input_size, device="meta"))
    assert counter.get_total_flops() == 2 * c.flops  # it counts a multiplication and an addition
    assert not c.uncounted


@pytest.fixture
def torch_alone(monkeypatch):
    """Every output computed by torch, none taken from `META_OUTPUTS`."""
    monkeypatch.setattr(_operators, "META_OUTPUTS", {})
    _operators.operator_info.cache_clear()
    yield
    _operators.operator_info.cache_clear()


@pytest.mark.parametrize("name", [*SMALL, "xcit_nano_12_p16_224"])
def test_shortcuts_change_nothing(name, request):
    model = create_model(name)
    c = measure(model)
    request.getfixturevalue("torch_alone")
    slow = measure(model)
    assert (slow, slow.parts) == (c, c.parts)


@pytest.mark.parametrize(
    "wrong",
    [
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Flatten(), nn.Linear(3, 4)),
        nn.LayerNorm(5),
        nn.Conv2d(3, 4, 9),
        nn.Conv2d(4, 4, 3),
        Call(lambda m, x: x.mul_(x[:, :, :5])),
        Call(lambda m, x: x.mean(4)),
        Call(lambda m, x: x + x[:, :, :5]),
        Call(lambda m, x: F.scaled_dot_product_attention(x, x[:, :1, :5], x)),
    ],
)
def test_a_module_that_cannot_run_is_not_counted(wrong):
    with pytest.raises(ValueError, match="3×8×8"):
        measure(wrong, 8)


def test_name_and_module_agree_and_leave_the_random_state():
    before, python = torch.random.get_rng_state(), random.getstate()
    by_name = measure("test_efficientnet")
    assert torch.equal(before, torch.random.get_rng_state())
    assert python == random.getstate()
    assert by_name == measure(create_model("test_efficientnet").half()) == measure("test_efficientnet.r160_in1k")


def test_wrappers_of_the_same_model():
    model = create_model("test_resnet")
    plain = measure(model)
    checkpointed = copy.deepcopy(model)
    checkpointed.set_grad_checkpointing()
    assert measure(checkpointed.train()) == plain
    assert measure(torch.compile(model)) == plain
    inside = measure(nn.Sequential(torch.compile(model)), plain.input_size)
    assert inside == plain
    assert inside.by_module()["0.layer1"] == plain.by_module()["layer1"]
    with torch.inference_mode():
        assert measure(model) == plain


def test_weights_computed_from_others():
    plain = measure(nn.Conv2d(3, 8, 3), 8)
    for normed in (parametrizations.weight_norm(nn.Conv2d(3, 8, 3)), torch.nn.utils.spectral_norm(nn.Conv2d(3, 8, 3))):
        normed(torch.zeros(1, 3, 8, 8))
        c = measure(normed, 8)
        assert (c.flops, c.acts) == (plain.flops, plain.acts)
        assert c.params == sum(p.numel() for p in normed.parameters())


# --------------------------------------------------------------------------------------------- by module, by operator


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "levit_128s"])
def test_rows_add_up(name):
    c = measure(name)
    total = Counts(c.flops, c.params, c.acts, c.bytes, c.weight_bytes)
    rows = c.by_module()
    assert rows[""] == sum(c.by_operator().values(), Counts(0, 0, 0)) == total
    assert next(iter(rows)) == ""
    one, two = c.by_module(depth=1), c.by_module(depth=2)
    assert {path: row for path, row in rows.items() if path.count(".") < 2} == two
    assert set(c.by_module(depth=0)) == {""}
    assert all("." not in path for path in one)
    model = create_model(name)
    for path, row in rows.items():
        assert row.params == sum(p.numel() for p in model.get_submodule(path).parameters())


def test_rows_of_a_small_network():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 36, 5))
    c = measure(model, 8)
    conv = Counts(8 * 36 * 27, 224, 8 * 36, 4 * (3 * 64 + 8 * 36), 4 * 224)
    linear = Counts(8 * 36 * 5, 8 * 36 * 5 + 5, 5, 4 * (8 * 36 + 5), 4 * (8 * 36 * 5 + 5))
    norm = Counts(0, 16, 0, 4 * 2 * 8 * 36, 4 * 4 * 8)  # its weights and its running statistics
    total = Counts(c.flops, c.params, c.acts, c.bytes, c.weight_bytes)
    assert c.by_module() == {"": total, "0": conv, "1": norm, "3": linear}
    assert c.by_operator() == {"conv": conv, "linear": linear, "other": norm}
    assert c.product_bytes == conv.bytes + linear.bytes


def test_shared_module_counts_where_it_is_called_and_its_params_once():
    conv = nn.Conv2d(3, 3, 1, bias=False)
    stage = nn.Sequential(conv, nn.Sequential(nn.ReLU(), conv), conv)
    c = measure(stage, 4)
    rows = c.by_module()
    assert (c.flops, c.params, c.acts) == (3 * 16 * 9, 9, 3 * 16 * 3)
    assert rows["1.1"] == Counts(16 * 9, 0, 16 * 3, 4 * 2 * 48, 4 * 9)
    assert rows["1"] == rows["1.1"] + rows["1.0"]
    tied = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
    tied[1].weight = tied[0].weight
    assert {path: row.params for path, row in measure(tied, 4).by_module().items()} == {"": 15, "0": 12, "1": 3}


def test_forward_called_directly_is_attributed():
    model = Call(lambda m, x: m.conv.forward(x), conv=nn.Conv2d(3, 8, 3))
    assert measure(model, 8).by_module()["conv"].flops > 0


# ------------------------------------------------------------------------------------------------ left as it was


def snapshot(model):
    return {
        "state": {k: v.clone() for k, v in model.state_dict().items()},
        "training": {k: m.training for k, m in model.named_modules()},
        "attributes": {k: list(vars(m)) for k, m in model.named_modules()},
        "parameters": {k: (id(p), p.requires_grad, p.device, p.grad) for k, p in model.named_parameters()},
        "buffers": {k: (id(b), b.device) for k, b in model.named_buffers()},
        "hooks": {k: (list(m._forward_hooks), list(m._forward_pre_hooks)) for k, m in model.named_modules()},
        "random": torch.random.get_rng_state(),
        "modes": (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.backends.mha.get_fastpath_enabled(),
        ),
    }


def called(*_):
    raise AssertionError("a hook of the module itself was called")


@pytest.mark.parametrize("counter", ["dispatcher", "thop"])
@pytest.mark.parametrize("looks_at_values", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_module_is_left_as_it_was(counter, looks_at_values, fails):
    if counter == "thop":
        pytest.importorskip("thop")

    def forward(m, x):
        m.cache["seen"] = x.shape
        m.last = x
        torch.rand(1)
        if looks_at_values:
            x.sum().item()
        return m.net(x[:, :2] if fails else x)

    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Sequential(nn.Dropout(), nn.Conv2d(8, 8, 1)))
    model = Call(forward, net=net).train()
    model.cache = {}
    net[1].eval()
    net[0].bias.requires_grad_(False)
    net[0].register_forward_hook(called)
    net[2].register_forward_pre_hook(called)
    before = snapshot(model)
    with (
        pytest.raises(ValueError, match="fails on an image") if fails else contextlib.nullcontext(),
        warns_of_values(looks_at_values),
    ):
        measure(model, 8, counter=counter)
    after = snapshot(model)
    states, randoms = (before.pop("state"), after.pop("state")), (before.pop("random"), after.pop("random"))
    assert before == after
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert torch.equal(*randoms)
    assert model.cache == {}
    assert not hasattr(model, "last")


def test_threads_do_not_meet():
    models = [create_model(name) for name in ("test_vit", "test_resnet")] * 2
    expected = [measure(model) for model in models]
    found = [None] * len(models)

    def work(i):
        found[i] = [measure(models[i]) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(models))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[c] * 3 for c in expected]


def test_no_weights_are_allocated(worker):
    params, grown = worker.call(params_and_memory_of_measuring, "regnety_1280")
    assert params == 644_812_894
    assert grown < params  # a quarter of the weights


# ------------------------------------------------------------------------------------------- what cannot be counted


def define(name, with_shape):
    @torch.library.custom_op(f"trd_test::{name}", mutates_args=())
    def double(x: torch.Tensor) -> torch.Tensor:
        return x @ torch.eye(x.shape[-1]) * 2

    if with_shape:
        double.register_fake(torch.empty_like)
    return double


@pytest.mark.parametrize("with_shape", [True, False])
def test_custom_operators_are_named(with_shape):
    double = define(f"double_{with_shape}".lower(), with_shape)
    model = Call(lambda m, x: double(double(m.conv(x))), conv=nn.Conv2d(3, 8, 3))
    with warns_of_values(not with_shape):
        c = measure(model, 8)
    assert c.uncounted == {f"trd_test::double_{with_shape}".lower(): 2}
    assert c.flops == 8 * 36 * 27
    assert f"not counted: trd_test::double_{with_shape}".lower() in str(c)


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (torch.fft.fft2, "aten::_fft_c2c"),
        (torch.linalg.inv, "aten::linalg_inv_ex"),
        (lambda x: torch.cdist(x, x), "aten::_cdist_forward"),
        (lambda x: F.grid_sample(x, x[..., :2], align_corners=False), "aten::grid_sampler_2d"),
        (lambda x: F.bilinear(x, x, torch.ones(2, 8, 8, device=x.device)), "aten::_trilinear"),
        (lambda x: torch.addbmm(x[0, 0], x[0], x[0]), "aten::addbmm"),
    ],
)
def test_multiply_adds_without_a_formula_are_named(function, operator):
    assert operator in measure(Call(lambda m, x: function(x)), 8).uncounted


@pytest.fixture
def own_formulas(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(_operators, "FORMULAS", dict(_operators.FORMULAS))
    yield
    _operators.operator_info.cache_clear()


def test_a_registered_formula_counts(own_formulas):
    class Deformed(nn.Module):
        def __init__(self):
            super().__init__()
            self.offset = nn.Conv2d(4, 18, 3, padding=1)
            self.conv = torchvision.ops.DeformConv2d(4, 6, 3, padding=1)
            self.norm = nn.BatchNorm2d(6)

        def forward(self, x):
            return self.norm(self.conv(x, self.offset(x)))

    name, model = "torchvision::deform_conv2d", Deformed()
    assert measure(model, (4, 16, 16)).uncounted == {name: 1}

    def formula(args, out):
        return out.numel() * args[1].shape[1:].numel(), out.numel()

    # Images and offsets are read, and a mask of one number, which torchvision makes and the formula's row reads.
    deformed = Counts(6 * 256 * 4 * 9, 6 * 4 * 9 + 6, 6 * 256, 4 * (4 + 18 + 6) * 256, 4 * (6 * 4 * 9 + 6 + 1))
    register_formula(name, formula, kind="conv")
    c = measure(model, (4, 16, 16))
    assert not c.uncounted
    assert c.by_module()["conv"] == deformed + Counts(0, 0, 0, 0, 4)
    assert list(c.by_operator()) == ["conv", "other"]
    register_formula(name, formula, kind="deformed")
    rows = measure(model, (4, 16, 16)).by_operator()
    assert list(rows) == ["conv", "deformed", "other"]
    assert rows["deformed"] == deformed


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (("deform_conv2d", max), ValueError, "full name such as .* not 'deform_conv2d'"),
        (("a::b", max, ""), ValueError, "kind must be a name"),
        (("a::b", "max"), TypeError, "formula must be a function .* not 'max'"),
    ],
)
def test_a_formula_that_cannot_be_registered(arguments, error, match, own_formulas):
    with pytest.raises(error, match=match):
        register_formula(*arguments)


@pytest.mark.parametrize("name", ["test_vit", "levit_128s", "convit_tiny"])
def test_built_without_weights(name):
    state = torch.random.get_rng_state()
    model = build_without_weights(lambda: create_model(name))
    assert all(p.is_meta for p in model.parameters())
    assert torch.equal(state, torch.random.get_rng_state())
    shapes = {key: t.shape for key, t in create_model(name).state_dict().items()}
    assert {key: t.shape for key, t in model.state_dict().items()} == shapes


def test_an_error_of_the_builder_stays_what_it_is():
    with pytest.raises(KeyError, match="mine"):
        build_without_weights(lambda: {}["mine"])


def test_values_are_counted_on_a_random_image():
    def forward(m, x):
        return m.conv(x) if x.abs().sum() > 0 else x

    model = Call(forward, conv=nn.Conv2d(3, 8, 3))
    with warns_of_values():
        assert measure(model, 8).flops == 8 * 36 * 27
    with pytest.raises(ValueError, match=r"Call fails on an image of size 3×8×8: .*meta"), warns_of_values():
        measure(model.to("meta"), 8)


# --------------------------------------------------------------------------------------------- input, errors, prints


def test_input_size_is_the_models_own_or_as_given():
    assert measure("test_vit").input_size == (3, 160, 160)
    assert measure("resnet18", 64) == measure("resnet18", [3, 64, 64])
    assert measure("resnet18", (3, 64, 96)).input_size == (3, 64, 96)


@pytest.mark.skipif(not hasattr(timm.models, "get_model_input_config"), reason="this timm keeps no record of the input")
def test_input_size_follows_the_arguments_of_create_model():
    assert measure(create_model("resnet18", in_chans=1)).input_size == (1, 224, 224)
    assert measure(create_model("resnet18", in_chans=1), 64).input_size == (1, 64, 64)
    assert measure(create_model("vit_tiny_patch16_224", img_size=64)).input_size == (3, 64, 64)


@pytest.mark.parametrize("size", [0, -8, (3, 0, 8), (8, 8), (1, 3, 8, 8), "224", True, 2.5, (3, 8.0, 8)])
def test_malformed_input_size(size):
    with pytest.raises(ValueError, match="input_size") as error:
        measure(nn.Conv2d(3, 8, 3), size)
    assert repr(size) in str(error.value)


@pytest.mark.parametrize(
    ("given", "error", "names"),
    [
        (("resnet81",), ValueError, ["'resnet81'", "'resnet18'"]),
        (("resnet18.nonsense",), ValueError, ["resnet18.nonsense"]),
        ((18,), TypeError, ["int"]),
        ((torch.jit.script(nn.Identity()), 8), TypeError, ["Script"]),
        ((nn.Conv2d(3, 8, 3),), ValueError, ["Conv2d", "input_size"]),
        ((nn.Conv2d(3, 8, 9), 8), ValueError, ["Conv2d", "3×8×8"]),
        (("vgg11", 8), ValueError, ["vgg11", "3×8×8"]),
        (("vit_tiny_patch16_224", 32), ValueError, ["vit_tiny_patch16_224", "3×32×32", "224"]),
    ],
)
def test_errors_name_what_was_given(given, error, names):
    with pytest.raises(error) as caught:
        measure(*given)
    assert all(name in str(caught.value) for name in names)
    assert "\n" not in str(caught.value)


def test_refusals_are_chained_and_counters_named(monkeypatch):
    with pytest.raises(ValueError, match="vgg11") as caught:
        measure("vgg11", 8)
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(ValueError, match=r"'fvcore'.*'dispatcher', 'thop'"):
        measure("resnet18", counter="fvcore")
    with pytest.raises(ValueError, match="thop counts none: leave 'amp' out"):
        measure("resnet18", counter="thop", dtype="amp")
    monkeypatch.setitem(sys.modules, "thop", None)
    with pytest.raises(ImportError, match=r"timm-regnet-ds\[thop\]"):
        measure("resnet18", counter="thop")


def test_results_print_compare_and_travel():
    c = measure("resnet18")
    assert str(c) == "1.814 GF, 11.69 M params, 2.485 M acts at 3×224×224"
    assert "flops=1814073344, params=11689512, acts=2484712" in repr(c)
    assert c == pickle.loads(pickle.dumps(c)) == copy.deepcopy(c)
    assert hash(c) == hash(measure("resnet18"))
    assert c != measure("resnet18", 64)
    assert json.loads(json.dumps(c.to_dict())) == {
        "flops": 1814073344,
        "params": 11689512,
        "acts": 2484712,
        "input_size": [3, 224, 224],
        "uncounted": {},
        "operators": 68,
        "bytes": c.bytes,
        "weight_bytes": c.weight_bytes,
        "product_bytes": c.product_bytes,
        "grouped_flops": 0,
        "dtype": "fp32",
    }
    with pytest.raises(AttributeError):
        c.flops = 0
    for table in (c.by_module(), c.by_operator()):
        assert all(len(line) <= 80 for line in str(table).splitlines())
    assert "layer1.0.conv1" in str(c.by_module())
    assert [str(row).split()[0] for row in (Counts(0, 0, 0), Counts(999, 0, 0), Counts(507 * 10**6, 0, 0))] == [
        "0",
        "999",
        "507.0",
    ]


def test_examples_of_the_documentation_hold(own_formulas):
    assert doctest.testmod(complexity) == (0, 4)
    assert doctest.testmod(_operators) == (0, 2)


# ------------------------------------------------------------------------------------------------------------ cuda


@pytest.mark.cuda
@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_module_on_cuda(name):
    model = create_model(name).cuda().half()
    used = torch.cuda.memory_allocated()
    assert measure(model) == measure(name)
    assert torch.cuda.memory_allocated() == used
    assert all(t.is_cuda for t in model.state_dict().values())


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("attend", [written_out, fused, kernel("_scaled_dot_product_efficient_attention", None, False)])
def test_attention_that_runs_on_cuda(attend, dtype):
    def forward(m, x):
        x.sum().item()
        return attend(m, m.conv(x))

    model = Call(forward, conv=nn.Conv2d(E, E, 1)).to("cuda", dtype)
    state = torch.cuda.get_rng_state()
    with warns_of_values():
        rows = measure(model, (E, 4, 4)).by_module()
    assert (rows[""].flops - rows["conv"].flops, rows[""].acts - rows["conv"].acts) == PRODUCTS
    assert torch.equal(state, torch.cuda.get_rng_state())
