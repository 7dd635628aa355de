"""How much faster `measure` is than fvcore, on models of many of timm's families.

Both count flops and acts of the same module, in turn, in one thread. The CPU time counts, which other processes change
less than the time, and of that the least of some rounds. fvcore runs the model on real tensors, as its users do; on
``meta`` its trace fails. Prints a table in Markdown, the largest ratio first.

    python benchmarks/complexity_table.py
"""

import argparse
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import torch
from fvcore.nn import ActivationCountAnalysis, FlopCountAnalysis
from timm.models import create_model
from tqdm import tqdm

from timm_regnet_ds.complexity import measure
from timm_regnet_ds.files.tables import markdown
from timm_regnet_ds.latency.families import family_of

# One or two models of each family, of the sizes that people use.
MODELS = (
    *("resnet50", "resnext101_32x8d", "regnety_040", "regnety_320", "efficientnet_b0", "efficientnet_b4"),
    *(
        "mobilenetv3_large_100",
        "densenet121",
        "vgg16",
        "convnext_tiny",
        "vit_small_patch16_224",
        "deit3_small_patch16_224",
    ),
    *("vit_base_patch16_224", "swin_tiny_patch4_window7_224", "coatnet_0_rw_224", "beit_base_patch16_224"),
    *("cait_xxs24_224", "xcit_tiny_12_p16_224", "mixer_b16_224", "edgenext_small", "fastvit_t8", "focalnet_tiny_srf"),
    *("ghostnet_100", "hrnet_w18", "inception_v3", "mobilevitv2_100", "eca_nfnet_l0", "poolformer_s12", "pvt_v2_b1"),
    *("repvit_m1", "res2net50_26w_4s", "rexnet_100", "twins_pcpvt_small", "volo_d1_224", "davit_tiny", "dla34"),
    *("eva02_tiny_patch14_224", "tiny_vit_5m_224", "mobilenetv4_conv_small", "xception41"),
)
ROUNDS = {"ours": 7, "fvcore": 2}


def by_fvcore(model: torch.nn.Module, image: torch.Tensor) -> tuple[int, int]:
    return int(FlopCountAnalysis(model, image).total()), int(ActivationCountAnalysis(model, image).total())


def shortest(count: Callable[[], object], rounds: int) -> float:
    """Milliseconds."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        count()
        times.append(1e3 * (time.process_time() - start))
    return min(times)


def row_of(name: str) -> tuple[str, str, float, float]:
    """The model, its family, and milliseconds of `measure` and of fvcore."""
    model = create_model(name).eval()
    image = torch.zeros(1, *measure(model).input_size)
    ours = shortest(lambda: measure(model), ROUNDS["ours"])
    return name, family_of(name), ours, shortest(lambda: by_fvcore(model, image), ROUNDS["fvcore"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "models", nargs="*", default=MODELS, metavar="MODEL", help=f"default: {len(MODELS)} of all kinds"
    )
    options = parser.parse_args()
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    measure("resnet18"), by_fvcore(create_model("resnet18").eval(), torch.zeros(1, 3, 64, 64))
    rows = sorted((row_of(name) for name in tqdm(options.models, disable=None)), key=lambda row: row[2] / row[3])
    ratios = [fvcore / ours for _, _, ours, fvcore in rows]
    cells = [
        [name, family, f"{ours:.1f}", f"{fvcore:.0f}", f"{ratio:.1f}"]
        for (name, family, ours, fvcore), ratio in zip(rows, ratios, strict=True)
    ]
    sys.stdout.write(markdown(["model", "family", "measure (ms)", "fvcore (ms)", "ratio"], cells) + "\n\n")
    sys.stdout.write(
        f"{len(rows)} models: {min(ratios):.1f} at least, {statistics.median(ratios):.1f} in the median, "
        f"{max(ratios):.1f} at most; {sum(ratio >= 10 for ratio in ratios)} of them 10 or more\n"
    )


if __name__ == "__main__":
    main()
