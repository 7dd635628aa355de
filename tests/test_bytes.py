"""Bytes that operators move: by hand for small modules, by an independent counter for whole models."""

import pytest
import torch
from call_module import Call
from timm.layers import GroupNormAct, set_fast_norm
from timm.models import create_model
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from timm_regnet_ds.complexity import measure
from timm_regnet_ds.complexity._autocast import AUTOCAST

TORCH = tuple(map(int, torch.__version__.split(".")[:2]))

C, S = 4, 16  # channels and side of the images
IMAGE = C * S * S  # elements


def tokens(x):
    return x.flatten(2).transpose(1, 2)


LAYER_NORM = Call(lambda m, x: m.norm(tokens(x)), norm=nn.LayerNorm(C))
MLP = Call(lambda m, x: m.fc(m.norm(tokens(x))), fc=nn.Linear(C, C), norm=nn.LayerNorm(C))
SOFTMAX = Call(lambda m, x: (x @ x.mT).softmax(-1) @ x)


@pytest.mark.parametrize(
    ("module", "dtype", "moved", "of_weights"),
    [
        # An operator reads its inputs and writes its output.
        (nn.ReLU(), "fp32", 4 * 2 * IMAGE, 0),
        (nn.ReLU(inplace=True), "fp32", 4 * 2 * IMAGE, 0),
        (nn.ReLU(), "bf16", 2 * 2 * IMAGE, 0),
        (nn.Conv2d(C, 6, 3, bias=False), "fp32", 4 * (IMAGE + 6 * 14 * 14), 4 * 6 * C * 9),
        (nn.Conv2d(C, 6, 3), "fp16", 2 * (IMAGE + 6 * 14 * 14), 2 * (6 * C * 9 + 6)),
        (nn.BatchNorm2d(C), "tf32", 4 * 2 * IMAGE, 4 * 4 * C),
        (LAYER_NORM, "fp32", 4 * 2 * IMAGE, 4 * 2 * C),
        (Call(lambda m, x: x + x), "fp32", 4 * 3 * IMAGE, 0),
        (Call(lambda m, x: x * 2 + 1), "fp32", 4 * 4 * IMAGE, 0),
        (Call(lambda m, x: torch.cat([x, x], 1)), "fp32", 4 * 4 * IMAGE, 0),
        (nn.MaxPool2d(2), "fp32", 4 * IMAGE + (4 + 8) * IMAGE // 4, 0),  # indices have eight bytes
        (Call(lambda m, x: F.scaled_dot_product_attention(x, x, x)), "fp32", 4 * 4 * IMAGE, 0),
        # Views move nothing, nor do operators that have nothing to do; a copy is read and written.
        (Call(lambda m, x: x.transpose(1, 2)[:, 2:].unsqueeze(0)), "fp32", 0, 0),
        (nn.Sequential(nn.Identity(), nn.Dropout(0.5), nn.Flatten()), "fp32", 0, 0),
        (Call(lambda m, x: x.contiguous().reshape(-1).float()), "fp32", 0, 0),
        (Call(lambda m, x: x.transpose(1, 2).contiguous()), "fp32", 4 * 2 * IMAGE, 0),
        (Call(lambda m, x: torch.zeros_like(x)), "fp32", 4 * IMAGE, 0),
        (Call(lambda m, x: torch.empty_like(x).copy_(x)), "fp32", 4 * 2 * IMAGE, 0),
        # What is computed from weights alone does not depend on the batch.
        (Call(lambda m, x: m.c.weight.sigmoid() * 2, c=nn.Conv2d(C, C, 1)), "fp32", 0, 4 * 4 * C * C),
        (Call(lambda m, x: m.c.weight.flatten(1).sum(1).view(1, -1, 1, 1) + x, c=nn.Conv2d(C, C, 1)), "fp32",
         4 * 2 * IMAGE, 4 * (C * C + 2 * C)),
        # Of a table, as many elements are read as are looked up.
        (Call(lambda m, x: m.e(torch.arange(3, device=x.device)), e=nn.Embedding(100, 5)), "fp32", 0,
         8 * 3 + 8 * 3 + 4 * 2 * 3 * 5),
    ],
)  # fmt: skip
def test_closed_form(module, dtype, moved, of_weights):
    c = measure(module, (C, S, S), dtype=dtype)
    assert (c.bytes, c.weight_bytes) == (moved, of_weights)
    assert c.dtype == dtype


@pytest.mark.parametrize(
    ("module", "moved", "of_weights"),
    [
        # A convolution's image and weights are cast; what it returns has two bytes.
        (nn.Conv2d(C, 6, 3, bias=False), (4 + 2) * IMAGE + 2 * (IMAGE + 6 * 196), (4 + 2 + 2) * 6 * C * 9),
        # BatchNorm and ReLU take what they get. BatchNorm's weights stay in float32.
        (nn.Sequential(nn.Conv2d(C, C, 1, bias=False), nn.BatchNorm2d(C), nn.ReLU()),
         (4 + 2) * IMAGE + 2 * 6 * IMAGE, (4 + 2 + 2) * C * C + 4 * 4 * C),
        (nn.ReLU(), 4 * 2 * IMAGE, 0),
        # LayerNorm runs in float32; the linear layer casts what it gets.
        (LAYER_NORM, 4 * 2 * IMAGE, 4 * 2 * C),
        (MLP, 4 * 2 * IMAGE + (4 + 2) * IMAGE + 2 * 2 * IMAGE, 4 * 2 * C + (4 + 2 + 2) * (C * C + C)),
        (nn.Sequential(nn.Conv2d(C, C, 1, bias=False), LAYER_NORM),
         (4 + 2) * IMAGE + 2 * 2 * IMAGE + (2 + 4) * IMAGE + 4 * 2 * IMAGE, (4 + 2 + 2) * C * C + 4 * 2 * C),
        # A softmax reads two bytes and returns four, without a cast. The second product casts it back.
        (SOFTMAX, 6 * (4 + 2) * IMAGE // 2 + (2 + 2 + 2) * IMAGE + (2 + 4) * IMAGE + (4 + 2) * IMAGE + 6 * IMAGE, 0),
    ],
)  # fmt: skip
def test_closed_form_under_autocast(module, moved, of_weights):
    c = measure(module, (C, S, S), dtype="amp")
    assert (c.bytes, c.weight_bytes) == (moved, of_weights)


@pytest.fixture
def fast_norm():
    set_fast_norm(True)
    yield
    set_fast_norm(False)


@pytest.mark.usefixtures("fast_norm")
@pytest.mark.parametrize(
    ("dtype", "casts", "size"),
    [("fp32", 0, 4), ("bf16", 0, 2), ("amp", (4 + 2) * IMAGE, 2), ("amp_bf16", 6 * IMAGE, 2)],
)
def test_fast_norms_of_timm_run_in_the_format_of_products(dtype, casts, size):
    """The image is cast, if at all, before the convolution; GroupNorm and the ReLU after it take what they get."""
    model = nn.Sequential(nn.Conv2d(C, C, 1, bias=False), GroupNormAct(C, 1))
    c = measure(model, (C, S, S), dtype=dtype)
    assert c.bytes == casts + size * (2 + 2 + 2) * IMAGE
    assert model[1]._fast_norm
    named = measure("test_convnext", dtype=dtype)
    runs_when_built = measure("vit_tiny_r_s16_p8_224", dtype=dtype)
    set_fast_norm(False)
    assert (runs_when_built.bytes < measure("vit_tiny_r_s16_p8_224", dtype=dtype).bytes) == (casts > 0)
    assert (named.bytes < measure("test_convnext", dtype=dtype).bytes) == (casts > 0)


class WritesIntoBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(1, 3, 8, 8))

    def forward(self, x):
        torch.add(x, x, out=self.total)
        return self.total * 2


def test_a_buffer_that_images_are_written_into_depends_on_them():
    counted = measure(WritesIntoBuffer(), (3, 8, 8))
    tensor = 4 * 3 * 8 * 8
    assert (counted.bytes, counted.weight_bytes) == (5 * tensor, 0)  # two read, one written; one read, one written


def test_flops_params_and_acts_are_the_same_in_every_format():
    def counts(dtype):
        c = measure("test_vit", dtype=dtype)
        rows = {path: (row.flops, row.params, row.acts) for path, row in c.by_module().items()}
        return {path: row for path, row in rows.items() if any(row)}

    assert counts("fp32") == counts("bf16") == counts("amp")


# Operators that are one kernel on a GPU and several for torch's dispatcher.
WHOLE = ("linear", "conv2d", "layer_norm", "batch_norm", "softmax", "matmul", "scaled_dot_product_attention")


class Naive(TorchDispatchMode):
    """Adds up the bytes of the tensors that operators take and return, unless they share their memory."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket.__name__ not in WHOLE:
            with self:
                out = func.decompose(*args, **(kwargs or {}))
            if out is not NotImplemented:
                return out
        out = func(*args, **(kwargs or {}))
        read, written = ([t for t in tree_leaves(x) if isinstance(t, torch.Tensor)] for x in ((args, kwargs), out))
        is_view = {t.untyped_storage()._cdata for t in written} <= {t.untyped_storage()._cdata for t in read}
        if not is_view or func.__name__.partition(".")[0].endswith("_"):
            self.total += sum(t.nbytes for t in read + written)
        return out


@pytest.mark.skipif(TORCH < (2, 6), reason="torch 2.5 shows a dispatch mode more operators than those that it runs")
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_an_independent_counter_agrees_for_any_batch(name, dtype):
    c = measure(name, 96 if name != "test_vit" else None, dtype=dtype)
    of_weights = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
    with torch.device("meta"):
        model = create_model(name).eval().to(of_weights)
    for batch in (1, 3):
        images = torch.empty(batch, *c.input_size, dtype=of_weights, device="meta")
        with torch.inference_mode(), Naive() as naive:
            model(images)
        # A class token that is expanded to the batch counts as a weight: it is read once for each image.
        expanded = (batch - 1) * 64 * of_weights.itemsize if name == "test_vit" else 0
        assert naive.total == batch * c.bytes + c.weight_bytes + expanded


def test_rows_add_up_under_autocast():
    c = measure("test_vit", dtype="amp")
    rows = c.by_operator()
    assert (c.bytes, c.weight_bytes) == (
        sum(row.bytes for row in rows.values()),
        sum(row.weight_bytes for row in rows.values()),
    )
    assert c.product_bytes == c.bytes - rows["other"].bytes
    assert c.by_module()[""].bytes == c.bytes
    assert c.product_bytes < measure("test_vit").product_bytes


@pytest.mark.parametrize(("groups", "share"), [(1, 0), (2, 1), (C, 0)])
def test_grouped_flops_are_those_of_groups_of_several_channels(groups, share):
    c = measure(nn.Conv2d(C, C, 3, groups=groups), (C, S, S))
    assert c.grouped_flops == share * c.flops


def test_torchs_autocast_has_rules_for_the_same_operators():
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    every = (n for n in torch._C._dispatch_get_all_op_names() if n.startswith("aten::"))
    names = {n for n in every if has_kernel(n, "AutocastCUDA")}
    torchs = {n.removeprefix("aten::").partition(".")[0] for n in names}
    assert AUTOCAST.keys() - torchs <= {"rms_norm"}  # older versions of torch leave it as it is
    losses = {n for n in torchs if "loss" in n or n.endswith("_div") or n.startswith("binary_cross")}
    cells = {"_cudnn_rnn", "_thnn_fused_gru_cell", "_thnn_fused_lstm_cell", "rnn_relu_cell", "rnn_tanh_cell"}
    of_devices = {"cudnn_convolution", "cudnn_convolution_transpose", "_scaled_dot_product_flash_attention"}
    rare = {"frobenius_norm", "nuclear_norm", "linalg_matrix_sqrth", "_upsample_nearest_exact3d"}
    assert torchs - AUTOCAST.keys() <= losses | cells | of_devices | rare


def test_an_unknown_format_is_named():
    with pytest.raises(ValueError, match=r"unknown dtype 'half'.*fp32, tf32, bf16, fp16, amp"):
        measure("resnet18", dtype="half")
