r"""
Pixel by pixel: how far translated images are from real ones, in flux, noise and structure.

=====================  ====================================================================================
quantity               what it is, y being real and y' translated pixels
=====================  ====================================================================================
``residual_mean``      mean of y' - y
``mae``, ``rmse``      mean of :math:`|y' - y|`, root of the mean of its square
``..._sigma``          the three in units of the noise of the real pixel
``chi2``               mean of :math:`(y' - y)^2 / \sigma^2`, :math:`\sigma` being the stated uncertainty
``coverage_1``, 2      share of pixels within 1 and 2 :math:`\sigma`: 68.3 % and 95.4 % where it holds
``psnr``               :math:`10 \log_{10} (L^2 / \mathrm{rmse}^2)` (dB), L the data range; infinite for the same image
``ssim``               structural similarity of asinh-scaled flux (Wang et al. 2004), mean over pixels and galaxies
``crps``               continuous ranked probability score: of samples where there are several, of the Gaussian that is
                       stated, or of a point (the ``mae``)
``sample_range``       share of pixels between the lowest and highest of S samples: (S - 1) / (S + 1) where they are
                       draws from what the target may look like
``noise_ratio``        rms of y' over rms of y in blank sky
=====================  ====================================================================================

Means are over pixels of all galaxies. The region ``all`` is every good pixel of the stamps, which is mostly sky;
``source`` the pixels of sources in the real stamp; ``sky`` those away from the sources of both.
"""

import numpy as np
from astropy import units as u

from astro_galtrans._progress import tqdm
from astro_galtrans.fidelity.compare import (
    BOOTSTRAP,
    bins_of,
    by_values,
    curve_table,
    excluded,
    side_by_side,
    to_qtable,
)
from astro_galtrans.fidelity.paired import PairedResult, checked, readings, settings_of
from astro_galtrans.fidelity.plots import images as plots
from astro_galtrans.fidelity.result import FIGURES
from astro_galtrans.measure.tables import galaxy_table
from astro_galtrans.statistics.bootstrap import interval
from astro_galtrans.statistics.resampling import resampled_sums

__all__ = ["PixelFidelity", "data_ranges", "pixel_fidelity"]

TAIL = 0.001  # share of pixels beyond either end of the data range: cores of the brightest sources
SOFTENING = 3  # of asinh-scaled flux, in units of the sky noise: linear in the noise, logarithmic in sources
BUDGET = 2**23  # pixels of all samples of a block of galaxies: 32 MiB
MEANS = {  # sums over pixels to the names of their means; those of squares are not yet the root
    "residual": "residual_mean", "absolute": "mae", "square": "rmse", "scaled": "residual_mean_sigma",
    "scaled_absolute": "mae_sigma", "scaled_square": "rmse_sigma", "chi2": "chi2", "within_1": "coverage_1",
    "within_2": "coverage_2", "crps": "crps", "in_range": "sample_range", "ssim": "ssim",
}  # fmt: skip
PIXELS = {"all": "pixels", "source": "pixels_source", "sky": "pixels_sky"}
UNITS = {"residual_mean": "flux", "mae": "flux", "rmse": "flux", "crps": "flux", "psnr": "dB"}
SHOWN = {
    ("all", "psnr"): "PSNR (dB)", ("all", "ssim"): "SSIM", ("sky", "noise_ratio"): "sky noise, translated / target",
    ("source", "residual_mean_sigma"): "mean residual in sources (noise)",
    ("source", "rmse_sigma"): "rms residual in sources (noise)", ("source", "crps"): "CRPS in sources (flux)",
    ("all", "chi2"): "reduced chi2 of all pixels", ("all", "coverage_1"): "within 1 sigma, all pixels",
    ("source", "coverage_1"): "within 1 sigma, sources", ("all", "sample_range"): "within the samples' range",
}  # fmt: skip
PANELS = {label: {"region": region, "quantity": quantity} for (region, quantity), label in SHOWN.items()}
PERFECT = {  # values of a perfect translation, of what can be off to both sides
    "residual_mean": 0, "residual_mean_sigma": 0, "chi2": 1, "noise_ratio": 1, "coverage_1": 0.6827,
    "coverage_2": 0.9545,
}  # fmt: skip
LINES = {label: PERFECT[quantity] for (_, quantity), label in SHOWN.items() if quantity in PERFECT}


class PixelFidelity(PairedResult):
    """
    What `pixel_fidelity` measured.

    ``statistics``
        ``value``, ``low`` and ``high`` of each quantity, by ``model``, ``band`` and ``region``.
    ``bins``
        The same in bins of what was asked for; absent if nothing was.
    ``power``
        Power spectrum of the translation over that of the real image per spatial ``frequency`` (cycles per arcsec).
    ``galaxies``
        Each quantity of each galaxy, those of the region ``source`` with ``_source`` after their name.
    """

    title = "Pixel fidelity"
    key = {"quantity": "rmse_sigma", "region": "source"}
    claim = "the rms difference from the real pixels of sources, over their noise,"

    def scores(self, metric, model=None, band=None):
        """
        Return a figure of each galaxy that is larger the worse its translation is, ``[N]``; NaN where it has none.

        Parameters
        ----------
        metric : str
            A quantity of each galaxy: PSNR and SSIM with their sign changed, the distance from its perfect value of
            what can be off to both sides (residual, chi2, coverage, noise ratio), all others themselves.
        model, band : str, optional
            The first model and the middle band by default.
        """
        values, name = self.of_galaxies(metric, model, band), metric.removesuffix("_source")
        if name in {"psnr", "ssim"}:
            return -values
        return np.abs(values - PERFECT[name]) if name in PERFECT else values

    def plot_power(self):
        """Power spectra of the translations over those of the real images."""
        return plots.power_ratios(self["power"])

    def _panels(self):
        return PANELS, LINES


def pixel_fidelity(
    target, translated, *, data_range=None, by=None, bins=5, take="both", bootstrap=BOOTSTRAP, progress=True
):  # fmt: skip
    """
    Compare translated with real images pixel by pixel.

    Images are read in blocks, the real ones twice (first for the data range); what is kept is some dozens of sums per
    galaxy, model and band.

    Parameters
    ----------
    target : `~astro_galtrans.stamps.Stamps`
        Real images. The noise of their pixels is that of their ``variance``, or else of the sky.
    translated : `~astro_galtrans.stamps.Stamps`, array-like or dict of str to these
        Translations of the same galaxies to the target's bands and pixels, ``[N, C, H, W]`` or, with S samples each,
        ``[N, S, C, H, W]``: one, or several by name. Their ``variance`` is the uncertainty that they state of y', or
        of the mean of the samples, as a forecast of y, noise of y included.
    data_range : array-like, optional
        ``[C, 2]``: lowest and highest flux, for PSNR and SSIM. By default `data_ranges` of the target.
    by : dict of str to array-like, optional
        What to bin by: name to ``[N]``.
    bins : int or dict, optional
        Number of bins of equally many galaxies, or edges by name.
    take : {"first", "mean", "both"}, optional
        Of several samples, look at the first, at their mean, or at both (``"NAME"`` and ``"NAME, mean"``): a mean is
        nearer to the truth in every pixel and has neither noise nor texture.
    bootstrap : `~astro_galtrans.statistics.bootstrap.Bootstrap`, optional
        How intervals are made.
    progress : bool, optional
        Show progress on a terminal.

    Returns
    -------
    `PixelFidelity`

    Raises
    ------
    ValueError
        If numbers, bands or shapes do not fit, or the target's noise is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans.stamps import Stamps
    >>> from astro_galtrans.surveys import Band, Survey
    >>> rng = np.random.default_rng(1)
    >>> axis = 0.2 * (np.arange(48) - 23.5)  # arcsec
    >>> clean = rng.uniform(50, 200, (40, 1, 1, 1)) * np.exp(-0.5 * (axis**2 + axis[:, None] ** 2) / 0.6**2)
    >>> survey = Survey("mine", "", 0.2, "adu", 30.0, [Band("r", fwhm=0.7, sky_rms=1.0)])
    >>> target = Stamps(clean + rng.normal(0, 1, clean.shape), survey)
    >>> from astro_galtrans.fidelity import pixel_fidelity
    >>> found = pixel_fidelity(target, {"brighter": 1.1 * clean}, progress=False)
    >>> list(found.tables)
    ['statistics', 'power', 'galaxies']
    """
    translated, by = checked(target, translated, take), by_values(by, len(target))
    ends = data_ranges(target, progress=progress) if data_range is None else _given(data_range, target.bands)
    softening = SOFTENING * np.median(target.sky_rms, axis=0)
    real, found = _measure(target, translated, take, ends, softening, bootstrap, progress)
    width, everyone = ends[:, 1] - ends[:, 0], np.arange(len(target))
    groups, rows, binned = bins_of(by, bins)[0], [], []
    for model, (sums, ours, _) in found.items():
        some = sums, real, ours, width, target.bands, bootstrap
        rows += _rows({"model": model}, everyone, *some)
        for where, chosen in groups:
            binned += _rows(where | {"model": model}, chosen, *some)
    tables = {"statistics": to_qtable(rows)} | ({"bins": to_qtable(binned)} if binned else {})
    tables["power"] = _power(target, {model: power for model, (*_, power) in found.items()}, bootstrap.level)
    galaxies = {model: _galaxies(sums, width, target.bands) for model, (sums, *_) in found.items()}
    tables["galaxies"] = side_by_side(galaxies)
    meta = {
        "data_range": {band: list(map(float, pair)) for band, pair in zip(target.bands, ends, strict=True)},
        "asinh_softening": dict(zip(target.bands, map(float, softening), strict=True)), "take": take,
    }  # fmt: skip
    return PixelFidelity(tables, settings_of(target, translated, bootstrap) | meta)


def data_ranges(stamps, *, progress=True):
    """Return the 0.1th and 99.9th percentile of the good pixels of real stamps, ``[C, 2]``, without keeping all."""
    keep = int(TAIL * len(stamps) * np.prod(stamps.shape)) + 2
    tails = [(_Tail(keep), _Tail(keep)) for _ in stamps.bands]
    for rows in tqdm(list(stamps.blocks()), desc="data range", unit="block", disable=None if progress else True):
        y = stamps.read(rows)
        good = np.isfinite(y) & ~stamps.bad(rows)
        for k, (low, high) in enumerate(tails):
            values = y[:, k][good[:, k]]
            low.add(-values)
            high.add(values)
    ends = np.array([(-low.quantile(), high.quantile()) for low, high in tails])
    return _given(ends, stamps.bands)


class _Tail:
    """The largest values of a stream."""

    def __init__(self, keep):
        self._keep, self._number, self._least = keep, 0, -np.inf
        self._values = np.empty(0, np.float32)

    def add(self, values):
        self._number += values.size
        self._values = np.concatenate([self._values, values[values > self._least]])
        if len(self._values) > self._keep:
            self._values = np.partition(self._values, -self._keep)[-self._keep :]
            self._least = self._values[0]

    def quantile(self):
        """The value with the share `TAIL` of all above it, interpolated as `numpy.quantile` does."""
        if not self._number:
            return np.nan
        place, values = TAIL * (self._number - 1), np.sort(self._values)[::-1].astype(float)
        return np.interp(place, np.arange(len(values)), values)


def _given(ends, bands):
    ends = np.asarray(ends, dtype=float)
    if ends.shape != (len(bands), 2) or not (ends[:, 1] > ends[:, 0]).all():
        msg = f"a data range is a lowest and a higher flux for each band ({', '.join(bands)}), got {ends.tolist()}"
        raise ValueError(msg)
    return ends


def _measure(target, translated, take, ends, softening, bootstrap, progress):
    """
    Return which real stamps have enough good pixels, bool ``[N, C]``, and what was found of each reading, by name.

    That is a triple: sums over pixels by region and name, ``[N, C]``, NaN without the samples or stated uncertainty
    that they need; which translated stamps have enough good pixels; and the `PowerRatio`.
    """
    import torch

    from .block import SUMMED, Block, PowerRatio

    shape, rings = (len(target), len(target.bands)), min(target.shape) // 2
    labels = {name: readings(name, stamps, take) for name, stamps in translated.items()}
    real, found = np.zeros(shape, bool), {}
    for label in (label for takes in labels.values() for label in takes):
        sums = {key: np.full(shape, np.nan, np.float32) for key in SUMMED}
        power = PowerRatio((shape[1], rings), bootstrap.resamples, bootstrap.seed)
        found[label] = sums, np.zeros(shape, bool), power
    deepest = max(int(np.prod(stamps.images.shape[1:])) for stamps in translated.values())
    blocks = list(target.blocks(max(1, BUDGET // deepest)))
    with torch.inference_mode():
        for rows in tqdm(blocks, desc="pixels", unit="block", disable=None if progress else True):
            block = Block(target, rows, ends, softening)
            real[rows] = block.measurable.numpy()
            for name, stamps in translated.items():
                for label, *reading in _read(stamps, rows, labels[name]):
                    sums, measurable, power = found[label]
                    found_here, measurable[rows], spectra = block.measure(*reading)
                    for key, values in found_here.items():
                        sums[key][rows] = values
                    power.add(*spectra)
    return real, found


def _read(stamps, rows, labels):
    """
    Yield the name, stamps ``[n, C, H, W]``, samples and stated uncertainty of each reading, of some galaxies.

    Samples ``[n, S, C, H, W]`` come with the first reading only. The uncertainty is that of the mean of the samples:
    truth and samples being draws from one distribution, the error of a mean of S has (1 + 1/S) / 2 of the variance
    that the error of one has.
    """
    stack = stamps.read(rows)
    several = stack.ndim == 5 and stack.shape[1] > 1
    for k, (label, which) in enumerate(labels.items()):
        images = stack if stack.ndim == 4 else stack.mean(axis=1) if which == "mean" else stack[:, 0].copy()
        stated = None if stamps.variance is None else stamps.noise(rows)
        if stated is not None and several and which != "mean":
            stated = stated * np.float32(np.sqrt(2 / (1 + 1 / stack.shape[1])))
        yield label, images, stack if several and k == 0 else None, stated


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


def _rows(head, chosen, sums, real, ours, data_range, bands, bootstrap):
    """Yield a row for each quantity of each band, of some galaxies."""
    sums = {key: part[chosen] for key, part in sums.items()}
    columns = np.stack(list(sums.values()), axis=-1)

    def named(totals):
        return quantities({key: totals[..., k] for k, key in enumerate(sums)}, data_range)

    total = columns.sum(axis=0, dtype=float)
    asked = named(np.where(np.isnan(total), np.nan, 1.0))  # NaN: there are no samples, or no uncertainty
    value = named(total)
    draws = named(resampled_sums(columns, bootstrap.resamples, bootstrap.seed)) if bootstrap.resamples else {}
    value = {key: interval(part, draws.get(key, ()), len(columns), bootstrap.level)[:3] for key, part in value.items()}
    for region, quantity in value:
        for c in np.flatnonzero(~np.isnan(asked[region, quantity])):
            labels = {"band": bands[c], "region": region, "quantity": quantity}
            figures = {end: part[c] for end, part in zip(FIGURES, value[region, quantity], strict=True)}
            numbers = excluded(real[chosen, c], ours[chosen, c])
            measured = int(np.count_nonzero(sums[region, "pixels"][:, c] > 0))
            numbers |= {"n": measured, "none_in_region": numbers["n"] - measured, "unit": UNITS.get(quantity, "")}
            yield head | labels | figures | numbers


def _power(target, power, level):
    """A row for each reading, band and frequency."""
    from .block import frequencies

    curves = []
    for name, ratio in power.items():
        columns = dict(zip(FIGURES, interval(*ratio.result(), 0, level)[:3], strict=True))
        for c, band in enumerate(target.bands):
            head = {"model": name, "band": band, "frequency": frequencies(target.shape, target.pixel_scale)}
            curves.append(head | {key: part[c] for key, part in columns.items()} | {"n": int(ratio.number[c])})
    return curve_table(curves, {"frequency": 1 / u.arcsec})


def _galaxies(sums, data_range, bands):
    """A row for each galaxy and band."""
    columns = {name: sums[region, "pixels"].astype(int) for region, name in PIXELS.items()}
    for (region, name), part in quantities(sums, data_range).items():
        columns[f"{name}_source" if region == "source" else name] = part
    return galaxy_table(bands, columns)
