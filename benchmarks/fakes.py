"""
Planted fakes, and how well they are found: the test of `astro_galtrans.fidelity.anomaly.measure`.

Fakes are light of which flux and place are known: a companion that only the source shows, as if the translation had
removed it; a spiral arm that only the translation shows; a galaxy whose flux is off. They are drawn with the PSFs that
images are compared with.
"""

import numpy as np
from astropy.table import QTable
from scipy import fft, stats

from astro_galtrans.statistics.bootstrap import in_bins

__all__ = ["add_arms", "add_points", "roc", "roc_table"]

POINTS = 40  # along an arm
TURN = np.pi  # that an arm goes around
PITCH = np.radians(20)


def add_points(degrader, images, rows, x, y, flux):
    """
    Add point sources to stamps of the source survey.

    Parameters
    ----------
    degrader : `~astro_galtrans.fidelity.anomaly.degrade.Degrader`
        Knows the PSFs.
    images : array-like
        ``[n, C, H, W]``: stamps in the bands that both surveys have.
    rows : array-like of int
        Which galaxies these are.
    x, y : array-like
        ``[n]``: places from the centre (arcsec).
    flux : array-like
        ``[n, C]``: in the flux unit of the stamps.

    Returns
    -------
    `numpy.ndarray`
        float32 ``[n, C, H, W]``.
    """
    matched = degrader.matched(rows)
    place = _phases(degrader, *(np.asarray(c, dtype=float)[:, None] for c in (x, y)), fine=False)
    image = fft.irfft2(matched.point() * place[:, None], s=degrader.frequencies.shape)
    m, (rows, columns) = degrader.margin, degrader.shape
    image = image[..., m : m + rows, m : m + columns]
    return (np.asarray(images) + np.asarray(flux)[:, :, None, None] * image).astype(np.float32)


def add_arms(degrader, images, rows, radius, flux, angle):
    """
    Add a spiral arm to translated stamps, a logarithmic spiral of half a turn.

    Parameters
    ----------
    degrader : `~astro_galtrans.fidelity.anomaly.degrade.Degrader`
        Knows the PSFs.
    images : array-like
        ``[n, C', sH, sW]``, in all bands of the target.
    rows : array-like of int
        Which galaxies these are.
    radius : array-like
        ``[n]``: where it begins (arcsec).
    flux : array-like
        ``[n, C]``: of the arm, in the flux unit of the stamps, in the bands that both surveys have.
    angle : array-like
        ``[n]``: where it begins (radian).

    Returns
    -------
    `numpy.ndarray`
        float32 ``[n, C', sH, sW]``.
    """
    along = np.linspace(0, TURN, POINTS)
    distance = np.asarray(radius)[:, None] * np.exp(np.tan(PITCH) * along)
    turned = np.asarray(angle)[:, None] + along
    place = _phases(degrader, distance * np.cos(turned), distance * np.sin(turned), fine=True)
    frequencies, scale = degrader.frequencies, degrader.scale
    y, x = frequencies.along()
    half = frequencies.fine_pixel / (2 * np.pi)
    spectrum = degrader.transfers(rows)[1] * (np.sinc(y * half) * np.sinc(x * half) * place)[:, None]
    image = fft.irfft2(spectrum, s=frequencies.fine)
    m, (height, width) = degrader.margin, degrader.shape
    image = image[..., scale * m : scale * (m + height), scale * m : scale * (m + width)]
    result = np.array(images, dtype=np.float32)
    result[:, degrader.in_target] += np.asarray(flux, np.float32)[:, :, None, None] * image.astype(np.float32)
    return result


def _phases(degrader, x, y, *, fine):
    """Transform of points at places ``[n, P]`` (arcsec from the centre), of unit flux together: ``[n, ky, kx]``."""
    frequencies, m = degrader.frequencies, degrader.margin
    pixel, scale = (frequencies.fine_pixel, degrader.scale) if fine else (frequencies.pixel_scale, 1)
    centre = [scale * m + (scale * n - 1) / 2 for n in degrader.shape]
    ky, kx = frequencies.along(fine=fine)
    along_y = np.exp(-1j * ky.ravel() * (np.asarray(y) + centre[0] * pixel)[..., None])
    along_x = np.exp(-1j * kx * (np.asarray(x) + centre[1] * pixel)[..., None])
    return np.einsum("npy,npx->nyx", along_y, along_x) / x.shape[1]


def roc(clean, fake):
    """
    Return the receiver operating characteristic of a score.

    Parameters
    ----------
    clean, fake : array-like
        Scores of galaxies without and with a fake.

    Returns
    -------
    false, true : `numpy.ndarray`
        Shares of clean galaxies and of fakes above each threshold, from the highest threshold to the lowest.
    """
    clean, fake = np.sort(np.asarray(clean, dtype=float)), np.sort(np.asarray(fake, dtype=float))
    thresholds = np.unique(np.concatenate([clean, fake]))[::-1]
    above = [1 - np.searchsorted(values, thresholds, side="left") / len(values) for values in (clean, fake)]
    return tuple(np.append(0.0, share) for share in above)


def roc_table(clean, fakes, values, edges, *, false_positives=0.01, name="magnitude"):
    """
    Return how well fakes are found, in bins and in all.

    Parameters
    ----------
    clean : array-like
        ``[N]``: scores without a fake.
    fakes : dict of str to array-like
        Kind of fake to ``[N]`` scores of the same galaxies with it.
    values : array-like
        ``[N]``: what to bin by.
    edges : array-like
        Of the bins; the last rows are of all galaxies in them.
    false_positives : float, optional
        Share of clean galaxies above the threshold at which completeness is counted: those of the same bin.
    name : str, optional
        What is binned.

    Returns
    -------
    `~astropy.table.QTable`
        ``auc``, the area under the curve (the probability that a fake scores higher than a clean galaxy: Mann & Whitney
        1947), and ``completeness``, with the standard error of both.
    """
    clean, where = np.asarray(clean, dtype=float), in_bins(values, edges)
    bins = [(edges[k], edges[k + 1], where == k) for k in range(len(edges) - 1)] + [(edges[0], edges[-1], where >= 0)]
    rows = []
    for kind, scores in fakes.items():
        for low, high, those in bins:
            ours, theirs = np.asarray(scores, dtype=float)[those], clean[those]
            rows.append((kind, low, high, int(those.sum()), *_found(theirs, ours, false_positives)))
    names = ["fake", f"{name}_low", f"{name}_high", "n", "auc", "auc_error", "completeness", "completeness_error"]
    return QTable(rows=rows, names=names)


def _found(clean, fake, false_positives):
    n = len(clean)
    if n < 2:
        return (np.nan,) * 4
    auc = stats.mannwhitneyu(fake, clean).statistic / n**2
    # Hanley & McNeil 1982: variance of the area from the probabilities of two against one
    one, two = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (n - 1) * (one + two - 2 * auc**2)) / n**2
    threshold = np.quantile(clean, 1 - false_positives, method="higher")
    share = np.mean(fake > threshold)
    return auc, np.sqrt(max(variance, 0)), share, np.sqrt(share * (1 - share) / n)
