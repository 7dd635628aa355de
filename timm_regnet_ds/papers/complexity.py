"""Complexity as the papers print it: flops in B, params in M, acts in M; '' if a paper does not print it."""

from typing import NamedTuple

from timm_regnet_ds.complexity import UNITS, Counts

__all__ = ["PRINTED", "UNREACHED", "Printed"]


class Printed(NamedTuple):
    """The printed complexity of one model, digit for digit."""

    flops: str
    params: str
    acts: str = ""

    def differences(self, counts: Counts) -> list[str]:
        """The names of the printed values that a measurement does not round to."""
        bounds = self.bounds()
        return [what for what, (low, high) in bounds.items() if not low <= getattr(counts, what) < high]

    def bounds(self) -> dict[str, tuple[float, float]]:
        """The half-open interval of the counts that round to each printed value, by its name."""
        bounds = {}
        for what, text in self._asdict().items():
            if text:
                half, unit = 0.5 * 10.0 ** -len(text.partition(".")[2]), UNITS[what].size
                bounds[what] = ((float(text) - half) * unit, (float(text) + half) * unit)
        return bounds


PRINTED = {
    # Designing Network Design Spaces, Figures 11 and 12
    "regnetx_200mf": Printed("0.2", "2.7", "2.2"),
    "regnetx_400mf": Printed("0.4", "5.2", "3.1"),
    "regnetx_600mf": Printed("0.6", "6.2", "4.0"),
    "regnetx_800mf": Printed("0.8", "7.3", "5.1"),
    "regnetx_1_6gf": Printed("1.6", "9.2", "7.9"),
    "regnetx_3_2gf": Printed("3.2", "15.3", "11.4"),
    "regnetx_4gf": Printed("4.0", "22.1", "12.2"),
    "regnetx_6_4gf": Printed("6.5", "26.2", "16.4"),
    "regnetx_8gf": Printed("8.0", "39.6", "14.1"),
    "regnetx_12gf": Printed("12.1", "46.1", "21.4"),
    "regnetx_16gf": Printed("15.9", "54.3", "25.5"),
    "regnetx_32gf": Printed("31.7", "107.8", "36.3"),
    "regnety_200mf": Printed("0.2", "3.2", "2.2"),
    "regnety_400mf": Printed("0.4", "4.3", "3.9"),
    "regnety_600mf": Printed("0.6", "6.1", "4.3"),
    "regnety_800mf": Printed("0.8", "6.3", "5.2"),
    "regnety_1_6gf": Printed("1.6", "11.2", "8.0"),
    "regnety_3_2gf": Printed("3.2", "19.4", "11.3"),
    "regnety_4gf": Printed("4.0", "20.6", "12.3"),
    "regnety_6_4gf": Printed("6.4", "30.6", "16.4"),
    "regnety_8gf": Printed("8.0", "39.2", "18.0"),
    "regnety_12gf": Printed("12.1", "51.8", "21.4"),
    "regnety_16gf": Printed("15.9", "83.6", "23.0"),
    "regnety_32gf": Printed("32.3", "145.0", "30.3"),
    # Fast and Accurate Model Scaling, Tables 6 to 8
    "regnety_500mf": Printed("0.5", "5.6", "4.2"),
    "regnetz_500mf": Printed("0.5", "7.1", "5.9"),
    "regnetz_4gf": Printed("4.0", "28.1", "24.3"),
    "regnety_500mf_dWr_4gf": Printed("4.1", "36.2", "13.3"),
    "regnety_500mf_dWr_16gf": Printed("16.2", "112.7", "29.4"),
    "regnetz_500mf_dWr_4gf": Printed("4.0", "41.1", "19.4"),
    "regnetz_500mf_dWr_16gf": Printed("16.2", "134.8", "42.6"),
    "regnetz_4gf_dWr_16gf": Printed("15.9", "95.3", "51.3"),
    "efficientnet_b0_dWr_4gf": Printed("4.1", "36.1", "29.2"),
    "efficientnet_b0_dWr_16gf": Printed("16.2", "122.8", "61.8"),
    # Rethinking Channel Dimensions for Efficient Model Design, Tables A1 and A2
    "rexnet_plain": Printed("0.56", "3.4"),
    "rexnet_090": Printed("0.35", "4.1"),
    "rexnet_100": Printed("0.40", "4.8"),
    "rexnet_110": Printed("0.48", "5.6"),
    "rexnet_120": Printed("0.57", "6.6"),
    "rexnet_130": Printed("0.66", "7.6"),
    "rexnet_140": Printed("0.76", "8.6"),
    "rexnet_150": Printed("0.86", "9.7"),
    "rexnet_200": Printed("1.5", "16"),
    "rexnet_220": Printed("1.8", "19"),
    "rexnet_300": Printed("3.4", "34"),
    "rexnet_lite_100": Printed("0.4", "4.7"),
    "rexnet_lite_130": Printed("0.6", "6.8"),
    "rexnet_lite_150": Printed("0.8", "8.3"),
    "rexnet_lite_200": Printed("1.5", "13.0"),
}

# Printed values that the models here do not reach; docs/rexnet.md says by how much and why.
UNREACHED = {"rexnet_150": ["flops"], "rexnet_300": ["params"], "rexnet_lite_130": ["params"]}
