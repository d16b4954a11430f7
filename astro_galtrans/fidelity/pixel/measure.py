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

from itertools import pairwise

import numpy as np
from astropy import units as u

from astro_galtrans.fidelity._pairs import edges_of
from astro_galtrans.fidelity.paired import PairedResult, by_values, excluded, galaxy_rows, to_qtable
from astro_galtrans.fidelity.plots import images as fidelity_plots
from astro_galtrans.stamps._compared import compared
from astro_galtrans.statistics import resampling
from astro_galtrans.statistics.bootstrap import in_bins, interval

__all__ = ["PixelFidelity", "data_ranges", "pixel_fidelity"]

TAIL = 0.001  # share of pixels beyond either end of the data range
SOFTENING = 3  # of asinh-scaled flux, in units of the sky noise
MEANS = {  # sums over pixels to the names of their means; those of squares are not yet the root
    "residual": "residual_mean", "absolute": "mae", "square": "rmse", "scaled": "residual_mean_sigma",
    "scaled_absolute": "mae_sigma", "scaled_square": "rmse_sigma", "chi2": "chi2", "within_1": "coverage_1",
    "within_2": "coverage_2", "crps": "crps", "in_range": "sample_range", "ssim": "ssim",
}  # fmt: skip
PIXELS = {"all": "pixels", "source": "pixels_source", "sky": "pixels_sky"}
UNITS = {"residual_mean": "flux", "mae": "flux", "rmse": "flux", "crps": "flux", "psnr": "dB"}


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

    def value(self, quantity, model=None, band=None, region=None):
        """
        Return a statistic: value, low, high.

        Parameters
        ----------
        quantity : str
            Its name.
        model, band : str, optional
            The first model and the middle band by default.
        region : str, optional
            ``"all"`` by default, ``"sky"`` for the ``noise_ratio``.
        """
        region = region or ("sky" if quantity == "noise_ratio" else "all")
        band, model = band or self.bands[len(self.bands) // 2], model or self.models[0]
        row = self.rows("statistics", model=model, band=band, region=region, quantity=quantity)[0]
        return tuple(float(row[name]) for name in ("value", "low", "high"))

    def scores(self, metric, model=None, band=None):
        """
        Return a figure of each galaxy that is larger the worse its translation is, ``[N]``; NaN where it has none.

        Parameters
        ----------
        metric : str
            A quantity of each galaxy: PSNR and SSIM with their sign changed, the distance from its perfect value of
            what has one between others (residual, chi2, coverage, noise ratio), all others themselves.
        model, band : str, optional
            The first model and the middle band by default.
        """
        values, name = self.of_galaxies(metric, model, band), metric.removesuffix("_source")
        if name in {"psnr", "ssim"}:
            return -values
        return np.abs(values - BETWEEN[name]) if name in BETWEEN else values

    def plot_power(self):
        """Power spectra of the translations over those of the real images."""
        return fidelity_plots.power_ratios(self["power"])

    def plot_bands(self):
        """The main quantities of all models, band by band."""
        return fidelity_plots.by_band(self._panels(self["statistics"]), self.bands, lines=PERFECT)

    def plot_bins(self, by=None, band=None):
        """
        The main quantities of all models in bins; None if nothing was binned.

        Parameters
        ----------
        by : str, optional
            What was binned; the first by default.
        band : str, optional
            The middle one by default.
        """
        if "bins" not in self.tables:
            return None
        by, band = by or str(self["bins"]["by"][0]), band or self.bands[len(self.bands) // 2]
        table = self.rows("bins", by=by, band=band)
        return fidelity_plots.over_bins(self._panels(table, "middle"), by, lines=PERFECT, title=band)

    def _panels(self, table, *first):
        """Label to model to columns, for what `SHOWN` names."""
        panels = {}
        for (region, quantity), label in SHOWN.items():
            chosen = table[(table["region"] == region) & (table["quantity"] == quantity)]
            for model in self.models:
                rows = chosen[chosen["model"] == model]
                if len(rows):
                    columns = tuple(rows[name] for name in (*first, "value", "low", "high"))
                    panels.setdefault(label, {})[model] = columns
        return panels


SHOWN = {
    ("all", "psnr"): "PSNR (dB)", ("all", "ssim"): "SSIM", ("sky", "noise_ratio"): "sky noise, translated / target",
    ("source", "residual_mean_sigma"): "mean residual in sources (noise)",
    ("source", "rmse_sigma"): "rms residual in sources (noise)", ("source", "crps"): "CRPS in sources (flux)",
    ("all", "chi2"): "reduced chi2 of all pixels", ("all", "coverage_1"): "within 1 sigma, all pixels",
    ("source", "coverage_1"): "within 1 sigma, sources", ("all", "sample_range"): "within the samples' range",
}  # fmt: skip
PERFECT = {
    SHOWN["sky", "noise_ratio"]: 1, SHOWN["source", "residual_mean_sigma"]: 0, SHOWN["all", "chi2"]: 1,
    SHOWN["all", "coverage_1"]: 0.6827, SHOWN["source", "coverage_1"]: 0.6827,
}  # fmt: skip

BETWEEN = {
    "residual_mean": 0, "residual_mean_sigma": 0, "chi2": 1, "noise_ratio": 1, "coverage_1": 0.6827,
    "coverage_2": 0.9545,
}  # fmt: skip


def pixel_fidelity(
    target, translated, *, bands, pixel_scale, sky_rms, mask=None, variance=None, std=None, data_range=None, by=None,
    bins=5, take="both", resamples=1000, seed=0, level=0.68, progress=True,
):  # fmt: skip
    """
    Compare translated with real images pixel by pixel.

    Images are read in blocks, the real ones twice (first for the data range); what is kept is some dozens of sums per
    galaxy, model and band.

    Parameters
    ----------
    target : array-like
        ``[N, C, H, W]``: real stamps, background-subtracted flux per pixel. An array, or anything with a length that
        gives arrays for slices.
    translated : array-like or dict of str to array-like
        Translations of the same galaxies by name, ``[N, C, H, W]`` or, with S samples each, ``[N, S, C, H, W]``; unit
        and pixels of the target.
    bands : sequence of str
        Names of the bands.
    pixel_scale : float
        Of the target (arcsec).
    sky_rms : array-like
        ``[C]`` or ``[N, C]``: sky noise of a pixel of the target.
    mask : array-like, optional
        ``[N, C, H, W]`` or ``[N, H, W]``: True for bad pixels. Those that are not finite are bad too.
    variance : array-like, optional
        ``[N, C, H, W]``: noise variance of the target's pixels; that of the sky by default.
    std : array-like or dict of str to array-like, optional
        ``[N, C, H, W]``: uncertainty that a translation states of y' as a forecast of y, noise of y included.
    data_range : array-like, optional
        ``[C, 2]``: lowest and highest flux, for PSNR and SSIM. By default `data_ranges` of the target.
    by : dict of str to array-like, optional
        What to bin by: name to ``[N]``.
    bins : int or dict, optional
        Number of bins of equally many galaxies, or edges by name.
    take : {"first", "mean", "both"}, optional
        Of several samples, look at the first, at their mean, or at both (``"NAME"`` and ``"NAME, mean"``): a mean is
        nearer to the truth in every pixel and has neither noise nor texture.
    resamples, seed, level : int, int, float, optional
        Of the bootstrap over galaxies: number, seed, probability of the intervals; no intervals for 0 resamples.
    progress : bool, optional
        Show progress on a terminal.

    Returns
    -------
    `PixelFidelity`

    Raises
    ------
    ValueError
        If lengths, bands or shapes do not fit; the message names the argument.
    """
    stamps = compared(
        target, translated, bands=bands, pixel_scale=pixel_scale, sky_rms=sky_rms, std=std, mask=mask,
        variance=variance, take=take,
    )  # fmt: skip
    by = by_values(by, len(stamps))
    ends = data_ranges(stamps, progress=progress) if data_range is None else _given(data_range, stamps.bands)
    softening = SOFTENING * np.median(stamps.sky_rms, axis=0)
    adds, real, ours, power = _measure(stamps, ends, softening, (resamples, seed), progress)
    quantities = _Quantities(ends[:, 1] - ends[:, 0])
    settings = dict(resamples=resamples, seed=seed, level=level)
    tables = {
        "statistics": _statistics(stamps, adds, real, ours, quantities, settings),
        "bins": _binned(stamps, adds, real, ours, quantities, by, bins, settings),
        "power": _power(stamps, power, level),
        "galaxies": _galaxies(stamps, adds, quantities),
    }
    meta = {
        "galaxies": len(stamps), "bands": stamps.bands, "pixel_scale": stamps.pixel_scale,
        "data_range": {band: list(map(float, pair)) for band, pair in zip(stamps.bands, ends, strict=True)},
        "asinh_softening": dict(zip(stamps.bands, map(float, softening), strict=True)),
        "samples": {model.name: model.samples for model in stamps.models if model.samples},
    }  # fmt: skip
    return PixelFidelity({name: table for name, table in tables.items() if table is not None}, meta | settings)


def data_ranges(stamps, *, progress=True):
    """
    Return the 0.1th and 99.9th percentile of the good pixels of real stamps, exactly, without keeping all.

    Parameters
    ----------
    stamps : `~astro_galtrans.stamps._compared.Compared`
        What is compared.
    progress : bool, optional
        Show progress on a terminal.

    Returns
    -------
    `numpy.ndarray`
        ``[C, 2]``.

    Raises
    ------
    ValueError
        If a band has no good pixel, or all have one value.
    """
    keep = int(TAIL * len(stamps) * np.prod(stamps.shape)) + 2
    tails = [(_Tail(keep), _Tail(keep)) for _ in stamps.bands]
    for _, y, bad in stamps.blocks(desc="data range", progress=progress):
        for k, (low, high) in enumerate(tails):
            values = y[:, k][~bad[:, k]]
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
        """That with the share `TAIL` above it, interpolated as `numpy.quantile` does."""
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


def _measure(stamps, ends, softening, resampling_of, progress):
    """
    What each galaxy adds to the sums, which could be measured in y and in y', and ratios of power spectra.

    Returns
    -------
    adds : dict
        Region and name to ``[N, M, C]``; absent what no reading has, NaN for readings that lack it.
    real, ours : `numpy.ndarray`
        ``[N, 1, C]`` and ``[N, M, C]``, bool.
    power : dict
        `PowerRatio` by name of the reading.
    """
    import torch

    from .block import Block
    from .power import PowerRatio

    shape = len(stamps), len(stamps.names), len(stamps.bands)
    rings = min(stamps.shape) // 2
    power = {name: PowerRatio((len(stamps.bands), rings), *resampling_of) for name in stamps.names}
    adds, real, ours = {}, np.zeros((shape[0], 1, shape[2]), bool), np.zeros(shape, bool)
    with torch.inference_mode():
        for rows, y, bad in stamps.blocks(desc="pixels", progress=progress):
            noise = stamps.pixel_noise(rows), stamps.sky_noise(rows)
            block = Block(y, bad, *noise, stamps.pixel_scale, ends, softening)
            real[rows, 0] = block.measurable.numpy()
            readings = (reading for model in stamps.models for reading in model.read(rows))
            for k, (name, *reading) in enumerate(readings):
                found, ours[rows, k], spectra = block.measure(*reading)
                for key, values in found.items():
                    adds.setdefault(key, np.full(shape, np.nan, np.float32))[rows, k] = values
                power[name].add(*spectra)
    return adds, real, ours, power


class _Quantities:
    """
    Sums over pixels to quantities.

    Parameters
    ----------
    data_range : `numpy.ndarray`
        ``[C]``.
    """

    def __init__(self, data_range):
        self._range = data_range

    def __call__(self, sums):
        """
        Return the quantities of sums, by region and name.

        Parameters
        ----------
        sums : dict
            Region and name to sums ``[..., M, C]``, over pixels of a galaxy or of many.
        """
        found = {}
        with np.errstate(divide="ignore", invalid="ignore"):
            for region, name in sums:
                if name in MEANS:
                    found[region, MEANS[name]] = sums[region, name] / sums[region, "pixels"]
            for region in ("all", "source"):
                for name in ("rmse", "rmse_sigma"):
                    found[region, name] = np.sqrt(found[region, name])
            found["all", "psnr"] = 20 * np.log10(self._range / found["all", "rmse"])
            found["sky", "noise_ratio"] = np.sqrt(sums["sky", "variation"] / sums["sky", "variation_real"])
        return found


def _statistics(stamps, adds, real, ours, quantities, settings):
    """A row for each quantity of each reading and band."""
    numbers = _numbers(stamps, adds, real, ours, np.arange(len(stamps)))
    return to_qtable(list(_rows(stamps, adds, numbers, quantities, settings)))


def _binned(stamps, adds, real, ours, quantities, by, bins, settings):
    """The same in bins, or None where there is nothing to bin by."""
    rows = []
    for name, values in by.items():
        edges = edges_of(name, values, bins)
        if edges is None:
            continue
        place = in_bins(values, edges)
        for k, (low, high) in enumerate(pairwise(edges)):
            chosen = np.flatnonzero(place == k)
            within = {key: part[chosen] for key, part in adds.items()}
            numbers = _numbers(stamps, within, real, ours, chosen)
            head = {"by": name, "bin_low": low, "bin_high": high, "middle": np.median(values[chosen])}
            rows += [head | row for row in _rows(stamps, within, numbers, quantities, settings)]
    return to_qtable(rows)


def _numbers(stamps, adds, real, ours, rows):
    """How many galaxies were measured, and could not be where, by region, reading and band."""
    found = {}
    for region in PIXELS:
        there = adds[region, "pixels"] > 0
        for m, name in enumerate(stamps.names):
            for c, band in enumerate(stamps.bands):
                numbers = excluded(real[rows, 0, c], ours[rows, m, c])
                measured = int(np.count_nonzero(there[:, m, c]))
                none = numbers["n"] - measured
                found[region, name, band] = numbers | {"n": measured, "none_in_region": none}
    return found


def _rows(stamps, adds, numbers, quantities, settings):
    """Yield a row for each quantity of each reading and band, of some galaxies."""
    for m, name in enumerate(stamps.names):
        columns = np.stack([part[:, m] for part in adds.values()], axis=-1)
        for (region, quantity), (asked, *figures) in _figures(list(adds), columns, quantities, settings).items():
            for c in np.flatnonzero(asked):
                band = stamps.bands[c]
                head = {"model": name, "band": band, "region": region, "quantity": quantity}
                ends = {key: part[c] for key, part in zip(("value", "low", "high"), figures, strict=True)}
                yield head | {"unit": UNITS.get(quantity, "")} | ends | numbers[region, name, band]


def _figures(keys, columns, quantities, settings):
    """Region and quantity to: could it be measured ``[C]``, value, low and high ``[C]``, of columns ``[N, C, X]``."""

    def named(sums):
        return quantities({key: sums[..., k] for k, key in enumerate(keys)})

    total = columns.sum(axis=0, dtype=float)
    asked = named(np.where(np.isnan(total), np.nan, 1.0))  # NaN: there are no samples, or no uncertainty
    value, resamples = named(total), settings["resamples"]
    low = high = {key: np.full_like(part, np.nan) for key, part in value.items()}
    if resamples:
        draws = named(resampling.resampled_sums(columns, resamples, settings["seed"]))
        ends = {key: interval(value[key], part, len(columns), settings["level"]) for key, part in draws.items()}
        low, high = ({key: getattr(part, end) for key, part in ends.items()} for end in ("low", "high"))
    return {key: (~np.isnan(asked[key]), value[key], low[key], high[key]) for key in value}


def _power(stamps, power, level):
    """A row for each reading, band and frequency."""
    from .power import frequencies

    rows, places = [], frequencies(stamps.shape, stamps.pixel_scale)
    for name, ratio in power.items():
        value, draws = ratio.result()
        low, high = interval(value, draws, 0, level)[1:3]
        for c, band in enumerate(stamps.bands):
            columns = {"frequency": places, "value": value[c], "low": low[c], "high": high[c]}
            fixed = {"model": name, "band": band, "n": int(ratio.number[c])}
            rows += [fixed | {key: part[k] for key, part in columns.items()} for k in range(len(places))]
    table = to_qtable(rows)
    table["frequency"] = table["frequency"] / u.arcsec
    return table["model", "band", "frequency", "value", "low", "high", "n"]


def _galaxies(stamps, adds, quantities):
    """A row for each galaxy, reading and band."""
    found = quantities(adds)
    columns = {name: adds[region, "pixels"].astype(int) for region, name in PIXELS.items()}
    columns |= {f"{name}_source" if region == "source" else name: part for (region, name), part in found.items()}
    return galaxy_rows(len(stamps), stamps.names, stamps.bands, columns)
