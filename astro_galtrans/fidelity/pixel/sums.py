"""Statistics of pixels from sums over galaxies, which may come block by block: what is kept does not grow with them."""

import numpy as np
from astropy import units as u

from astro_galtrans.fidelity.compare import EXCLUDED, curve_table, to_qtable
from astro_galtrans.fidelity.result import FIGURES
from astro_galtrans.statistics.bootstrap import interval
from astro_galtrans.statistics.resampling import StreamedSums

__all__ = ["PIXELS", "PixelSums", "checked_ends", "named", "quantities", "softening"]

SOFTENING = 3  # of asinh-scaled flux, in units of the sky noise: linear in the noise, logarithmic in sources
MEANS = {  # sums over pixels to the names of their means; those of squares are not yet the root
    "residual": "residual_mean", "absolute": "mae", "square": "rmse", "scaled": "residual_mean_sigma",
    "scaled_absolute": "mae_sigma", "scaled_square": "rmse_sigma", "chi2": "chi2", "within_1": "coverage_1",
    "within_2": "coverage_2", "crps": "crps", "in_range": "sample_range", "ssim": "ssim",
}  # fmt: skip
PIXELS = {"all": "pixels", "source": "pixels_source", "sky": "pixels_sky"}
UNITS = {"residual_mean": "flux", "mae": "flux", "rmse": "flux", "crps": "flux", "psnr": "dB"}


def softening(target):
    """Return the flux below which asinh-scaled flux is linear, ``[C]``."""
    return SOFTENING * np.median(target.sky_rms, axis=0)


def checked_ends(ends, bands):
    """Return a data range as an array ``[C, 2]``; ValueError if it is none."""
    ends = np.asarray(ends, dtype=float)
    if ends.shape != (len(bands), 2) or not (ends[:, 1] > ends[:, 0]).all():
        msg = f"a data range is a lowest and a higher flux for each band ({', '.join(bands)}), got {ends.tolist()}"
        raise ValueError(msg)
    return ends


def quantities(sums, data_range):
    """
    Return the quantities of sums over pixels, by region and name, of one galaxy or many.

    Sums are ``[..., C]`` by region and name, ``data_range`` ``[C]`` is the width of the data range.
    """
    found = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        for region, name in sums:
            if name in MEANS:
                found[region, MEANS[name]] = sums[region, name] / sums[region, "pixels"]
        for region in ("all", "source"):
            for name in ("rmse", "rmse_sigma"):
                found[region, name] = np.sqrt(found[region, name])
        found["all", "psnr"] = 20 * np.log10(data_range / found["all", "rmse"])
        found["sky", "noise_ratio"] = np.sqrt(sums["sky", "variation"] / sums["sky", "variation_real"])
    return found


class PixelSums:
    """
    Statistics of pixels from galaxies that come block by block, of which only sums are kept, and those of resamples.

    Power spectra are compared by the geometric mean over galaxies of their ratio, so that all galaxies count alike; a
    ratio of sums would be that of the brightest few.

    Parameters
    ----------
    target : `~astro_galtrans.stamps.Stamps`
        Real stamps, or some of them: their bands, pixels and sky noise are looked at.
    data_range : array-like
        ``[C, 2]``, as for `pixel_fidelity`.
    bootstrap : `~astro_galtrans.statistics.bootstrap.Bootstrap`
        How intervals are made.
    """

    def __init__(self, target, data_range, bootstrap):
        self._bands, self._bootstrap, self._sums, self._power = target.bands, bootstrap, {}, {}
        self._ends, self._softening = checked_ends(data_range, target.bands), softening(target)
        self._shape, self._scale = target.shape, target.pixel_scale

    @property
    def about(self):
        """What the meta data of a result say of data range and asinh scaling."""
        ends = {band: list(map(float, pair)) for band, pair in zip(self._bands, self._ends, strict=True)}
        return {
            "data_range": ends, "asinh_softening": dict(zip(self._bands, map(float, self._softening), strict=True))
        }  # fmt: skip

    def add(self, model, sums, power):
        """Take in what `Block.measure` returns of some galaxies, ``[n, C, S]`` and ``[n, C, K]``."""
        usable = np.isfinite(power)
        for kept, columns in (
            (self._sums, sums), (self._power, np.stack([np.where(usable, power, 0), usable], axis=1))
        ):  # fmt: skip
            if model not in kept:
                settings = self._bootstrap.resamples, self._bootstrap.seed
                kept[model] = StreamedSums(columns.shape[1:], *settings)
            kept[model].add(columns)

    def tables(self):
        """Return the tables ``statistics`` and ``power`` of `PixelFidelity`."""
        rows = [row for model, sums in self._sums.items() for row in self.rows({"model": model}, *sums.result())]
        return {"statistics": to_qtable(rows), "power": self._power_table()}

    def rows(self, head, total, draws):
        """Yield a row for each quantity of each band, of sums over galaxies ``[C, S]`` and resamples ``[n, C, S]``."""
        width, bands = self._ends[:, 1] - self._ends[:, 0], self._bands
        asked = quantities(named(np.where(np.isnan(total), np.nan, 1.0)), width)  # NaN: no samples or no uncertainty
        value, counts = quantities(named(total), width), named(total)
        many = quantities(named(draws), width)
        for (region, quantity), found in value.items():
            ends = interval(found, many[region, quantity], 0, self._bootstrap.level)[:3]
            for c in np.flatnonzero(~np.isnan(asked[region, quantity])):
                labels = {"band": bands[c], "region": region, "quantity": quantity}
                figures = {end: part[c] for end, part in zip(FIGURES, ends, strict=True)}
                numbers = {name: int(counts["galaxies", name][c]) for name in ("n", *EXCLUDED, region)}
                measured = numbers.pop(region)
                numbers |= {"n": measured, "none_in_region": numbers["n"] - measured, "unit": UNITS.get(quantity, "")}
                yield head | labels | figures | numbers

    def _power_table(self):
        """A row for each reading, band and frequency."""
        from .block import frequencies

        curves = []
        for model, sums in self._power.items():
            total, draws = sums.result()
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = [np.exp(part[..., 0, :, :] / part[..., 1, :, :]) for part in (total, draws)]
            columns = dict(zip(FIGURES, interval(*ratio, 0, self._bootstrap.level)[:3], strict=True))
            for c, band in enumerate(self._bands):
                head = {"model": model, "band": band, "frequency": frequencies(self._shape, self._scale)}
                curves.append(head | {key: part[c] for key, part in columns.items()} | {"n": int(total[1, c, 0])})
        return curve_table(curves, {"frequency": 1 / u.arcsec})


def named(sums):
    """Return sums ``[..., S]`` by region and name."""
    from .block import SUMMED

    return {key: sums[..., k] for k, key in enumerate(SUMMED)}
