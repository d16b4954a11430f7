"""
Galleries: the galaxies that a translation did best, as usual and worst by any score, source and target beside them.

All images of a galaxy have one stretch, that of its real image, so that a difference to the eye is one of flux. Colour
composites follow Lupton et al. (2004, PASP 116, 133): the three bands share one stretch, which keeps colours.
"""

import numpy as np

from astro_galtrans.stamps.stamps import as_stamps, check_noise, same_galaxies
from astro_galtrans.units import flux_factor

from .redshift import canvas, style

__all__ = ["chosen_rows", "composite", "gallery", "pictures", "stretched"]

SOFTENING = 3.0  # of the stretch, in units of the sky noise
BRIGHTEST = 99.8  # percentile of the real image that is white: all but the cores of stars
CLIP = 10.0  # residuals, in units of the noise, beyond which there is no more colour
SIDE = 1.25  # inches of a panel
GROUPS = "best", "median", "worst"


def chosen_rows(scores, number=3):
    """
    Return the rows with the lowest, middle and highest of scores ``[N]``: ``"best"``, ``"median"``, ``"worst"``.

    There are ``number`` of each, none in two groups, the worst first; scores that are not finite are left out.
    """
    scores = np.asarray(scores, dtype=float)
    order = np.argsort(scores, kind="stable")[: np.count_nonzero(np.isfinite(scores))]
    order = order[np.isfinite(scores[order])]
    if not len(order):
        msg = f"there is no galaxy to show: none of {len(scores)} scores is finite"
        raise ValueError(msg)
    number = min(number, max(1, len(order) // 3))
    middle = max((len(order) - number) // 2, number)
    groups = order[:number], order[middle : middle + number], order[: middle + number - 1 : -1][:number]
    return {name: rows for name, rows in zip(GROUPS, groups, strict=True) if len(rows)}


def stretched(image, softening, white):
    """
    Return flux as brightness from 0 to 1: asinh, black at one sigma of the sky below zero, 1 at the flux ``white``.

    ``softening`` is the flux where the stretch turns from linear to logarithmic.
    """
    black = -softening / SOFTENING
    low, value, high = (np.arcsinh(flux / softening) for flux in (black, np.nan_to_num(image), white))
    return np.clip((value - low) / (high - low), 0, 1)


def composite(image, softening, white):
    """
    Return a colour composite ``[H, W, 3]``, 0 to 1, of red, green and blue ``[3, H, W]`` that are alike bright.

    ``softening`` and ``white`` are those of the stretch of their mean.
    """
    black = softening / SOFTENING  # what is added: a ratio to a flux near zero would be a colour of noise alone
    image = np.nan_to_num(np.asarray(image, dtype=float)) + black
    mean = np.maximum(image.mean(axis=0), 1e-6 * black)
    colours = np.clip(image * (stretched(mean - black, softening, white) / mean), 0, None)
    brightest = np.maximum(colours.max(axis=0), 1)  # too bright a pixel keeps its hue
    return np.moveaxis(colours / brightest, 0, -1)


@style()
def gallery(scores, target, translated, *, source=None, show=None, number=3, sample=0, label="score", title=None):
    """
    Draw the best, the median and the worst galaxies: source, translation, target and residual.

    Parameters
    ----------
    scores : array-like
        ``[N]``, larger is worse; NaN where there is none.
    target : `~astro_galtrans.stamps.Stamps`
        Real images.
    translated : `~astro_galtrans.stamps.Stamps` or array-like
        One translation of them, with or without samples.
    source : `~astro_galtrans.stamps.Stamps`, optional
        Images of the source survey in the same bands; drawn as if they had the target's flux unit and pixels.
    show : str or sequence of str, optional
        One band, or three as red, green and blue; by default the fourth, third and second of five, the first three, the
        longest first, of fewer, and the only one of one or two.
    number : int, optional
        Galaxies in each group.
    sample : int or "mean", optional
        Which of several samples.
    label : str, optional
        What the score is, above all.
    title : str, optional
        Above all instead.

    Returns
    -------
    `matplotlib.figure.Figure`

    Raises
    ------
    ValueError
        If lengths do not agree, no score is finite, a band is not there, or the target's noise is not known.
    """
    check_noise(target)
    sets = {"source": source, "translated": as_stamps(translated, target).sample(sample), "target": target}
    sets = {name: stamps for name, stamps in sets.items() if stamps is not None}
    same_galaxies(target=target, scores=scores, **{name: part for name, part in sets.items() if name != "target"})
    factors = dict.fromkeys(sets, 1.0)
    if source is not None:
        factors["source"] = flux_factor(source.survey.zeropoint, target.survey.zeropoint)
        factors["source"] *= (target.pixel_scale / source.pixel_scale) ** 2
    look = _Look(target.bands, np.median(target.sky_rms, axis=0), _shown(show, target.bands))
    rows = [(group, row) for group, found in chosen_rows(scores, number).items() for row in found]
    columns = [*sets, "residual / noise"]
    size = SIDE * len(columns) + 0.9, SIDE * len(rows) + 0.6
    figure, grid = canvas(len(rows), len(columns), size, f"{title or label} ({look.name})")
    for line, (group, row) in zip(grid, rows, strict=True):
        images = [factors[name] * part.read([row])[0].astype(float) for name, part in sets.items()]
        drawn = _draw(line, look, images)
        line[0].set_ylabel(f"{group}\n{scores[row]:.3g}\ngalaxy {row}", rotation=0, ha="right", va="center")
    for place, name in zip(grid[0], columns, strict=True):
        place.set_title(name)
    figure.colorbar(drawn, ax=[line[-1] for line in grid], fraction=0.05, pad=0.02, aspect=40)
    return figure


def pictures(rows, target, translated, *, source=None, show=None):
    """
    Return images of some galaxies, 0 to 1, a dict of name to ``[H, W]`` or ``[H, W, 3]`` for each.

    Parameters
    ----------
    rows : sequence of int
        Which galaxies.
    target : `~astro_galtrans.stamps.Stamps` or None
        Real images, whose stretch all images of a galaxy have, under the name ``"target"``; without them it is that of
        the first translation.
    translated : dict of str to `~astro_galtrans.stamps.Stamps`
        Translations, of whose samples the first is shown.
    source, show : optional
        As for `gallery`; the source is under the name ``"source"``.
    """
    sets = {name: stamps for name, stamps in (("source", source), ("target", target)) if stamps is not None}
    sets |= {name: stamps.sample() for name, stamps in translated.items()}
    like = next(iter(translated.values())) if target is None else target
    factor = 1.0
    if source is not None:
        factor = flux_factor(source.survey.zeropoint, like.survey.zeropoint)
        factor *= (like.pixel_scale / source.pixel_scale) ** 2
    look, found = _Look(like.bands, np.median(like.sky_rms, axis=0), _shown(show, like.bands)), []
    for row in rows:
        images = {name: look.prepare(stamps.read([row])[0].astype(float)) for name, stamps in sets.items()}
        images = {name: image * factor if name == "source" else image for name, image in images.items()}
        white = _white(images["target" if target is not None else next(iter(translated))])
        found.append({name: look.picture(image, white) for name, image in images.items()})
    return found


class _Look:
    """Which bands are shown, and how bright."""

    def __init__(self, bands, sky, shown):
        self.index = [bands.index(band) for band in shown]
        self.sky = sky[self.index]
        self.name = ", ".join(shown)

    def prepare(self, image):
        """The bands shown, in units of their sky noise: then they are alike bright in a composite."""
        return image[self.index] / self.sky[:, None, None]

    def picture(self, image, white):
        if len(self.index) == 1:
            return stretched(image[0], SOFTENING, white)
        return composite(image, SOFTENING, white)


def _draw(line, look, images):
    """Images of one galaxy, the last of them real, with its stretch; and the residual."""
    images = [look.prepare(image) for image in images]
    *_, ours, real = images
    white = _white(real)
    for place, image in zip(line, images, strict=False):
        place.imshow(look.picture(image, white), origin="lower", cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    residual = np.nan_to_num((ours - real).mean(axis=0)) * np.sqrt(len(ours))
    drawn = line[-1].imshow(residual, origin="lower", cmap="RdBu_r", vmin=-CLIP, vmax=CLIP, interpolation="nearest")
    for place in line:
        place.set_xticks([])
        place.set_yticks([])
    return drawn


def _white(real):
    """The flux that is shown white, in units of the noise."""
    return max(np.nanpercentile(real.mean(axis=0), BRIGHTEST), 10.0)


def _shown(show, bands):
    if show is None:
        show = bands[3:0:-1] if len(bands) >= 4 else bands[::-1] if len(bands) == 3 else bands[-1:]
    show = (show,) if isinstance(show, str) and show in bands else tuple(show)
    missing = [band for band in show if band not in bands]
    if missing or len(show) not in {1, 3}:
        msg = f"show one of the bands {', '.join(bands)}, or three as red, green and blue; got {', '.join(show)}"
        raise ValueError(msg)
    return show
