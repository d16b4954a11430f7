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

from astro_galtrans._progress import tqdm
from astro_galtrans.fidelity.compare import BOOTSTRAP, bins_of, by_values, side_by_side, to_qtable
from astro_galtrans.fidelity.paired import PairedResult, checked, readings, settings_of
from astro_galtrans.fidelity.plots import images as plots
from astro_galtrans.measure.tables import galaxy_table
from astro_galtrans.statistics.resampling import StreamedSums

from .sums import PIXELS, PixelSums, checked_ends, named, quantities, softening

__all__ = ["PixelFidelity", "data_ranges", "pixel_fidelity", "pixel_galaxies"]

TAIL = 0.001  # share of pixels beyond either end of the data range: cores of the brightest sources
BUDGET = 2**19  # pixels of all samples of a block of galaxies: their sums take some 300 bytes of maps a pixel
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
    ends = data_ranges(target, progress=progress) if data_range is None else checked_ends(data_range, target.bands)
    totals, whole = PixelSums(target, ends, bootstrap), {}
    for rows, label, sums, power in _measured(target, translated, take, ends, progress):
        totals.add(label, sums, power)
        whole.setdefault(label, np.empty((len(target), *sums.shape[1:]), np.float32))[rows] = sums
    tables, groups, binned = totals.tables(), bins_of(by, bins)[0], []
    for model, sums in whole.items():
        for where, chosen in groups:
            part = StreamedSums(sums.shape[1:], bootstrap.resamples, bootstrap.seed)
            part.add(sums[chosen])
            binned += totals.rows(where | {"model": model}, *part.result())
    tables |= {"bins": to_qtable(binned)} if binned else {}
    tables["galaxies"] = side_by_side({model: _galaxies(sums, ends, target.bands) for model, sums in whole.items()})
    return PixelFidelity(tables, settings_of(target, translated, bootstrap) | totals.about | {"take": take})


def pixel_galaxies(target, translated, data_range, *, take="first"):
    """
    Measure the pixels of some galaxies of a larger set, whose statistics are made of the tables of all parts.

    Parameters
    ----------
    target, translated, take
        As for `pixel_fidelity`.
    data_range : array-like
        ``[C, 2]``: lowest and highest flux, the same for all parts.

    Returns
    -------
    `~astropy.table.QTable`
        The table ``galaxies`` of `PixelFidelity`, with two more columns that ``fidelity.pixel.sums`` adds
        up: ``sums`` over the pixels, and ``power``, the logarithm of the ratio of power spectra.

    Raises
    ------
    ValueError
        If numbers, bands or shapes do not fit, or the target's noise is not known.
    """
    ends, parts = checked_ends(data_range, target.bands), {}
    for _, label, *columns in _measured(target, checked(target, translated, take), take, ends, progress=False):
        parts.setdefault(label, []).append(columns)
    tables = {}
    for label, blocks in parts.items():
        sums, power = map(np.concatenate, zip(*blocks, strict=True))
        tables[label] = _galaxies(sums, ends, target.bands, sums=sums, power=power.astype(np.float32))
    return side_by_side(tables)


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
    return checked_ends(ends, stamps.bands)


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


def _measured(target, translated, take, ends, progress):
    """Yield, of each block of galaxies and each reading, its rows and name, and what `Block.measure` returns."""
    import torch

    from .block import Block

    labels = {name: readings(name, stamps, take) for name, stamps in translated.items()}
    deepest = max(int(np.prod(stamps.images.shape[1:])) for stamps in translated.values())
    blocks = list(target.blocks(max(1, BUDGET // deepest)))
    for rows in tqdm(blocks, desc="pixels", unit="block", disable=None if progress else True):
        with torch.inference_mode():
            block = Block(target, rows, ends, softening(target))
        for name, stamps in translated.items():
            for label, *reading in _read(stamps, rows, labels[name]):
                with torch.inference_mode():
                    found = block.measure(*reading)
                yield rows, label, *found


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


def _galaxies(whole, ends, bands, **more):
    """A row for each galaxy and band."""
    parts = named(whole)
    columns = {name: parts[region, "pixels"].astype(int) for region, name in PIXELS.items()}
    for (region, name), part in quantities(parts, ends[:, 1] - ends[:, 0]).items():
        columns[f"{name}_source" if region == "source" else name] = part
    return galaxy_table(bands, columns | more)
