"""The main job on the bundled image: all shipped translators of SDSS images, side by side with the truth."""

from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from astropy.visualization import make_lupton_rgb

from astro_galtrans._progress import tqdm

from ._files import whole_file
from ._optional import require
from .bandstack import read, write_fits
from .surveys import get_survey
from .translate import list_translators, load_translator, translate
from .units import flux_factor

__all__ = ["demo", "rgb"]

SEED = 1  # of the translators that sample, so that everybody sees the same picture
#: Relative weights of red, green and blue: galaxies are fainter in bluer bands.
WEIGHTS = {"i": 0.9, "r": 1.3, "g": 2.0}


def demo(directory, *, progress=True):
    """
    Translate the bundled SDSS image with every shipped translator for it, and draw source, translations and truth.

    Parameters
    ----------
    directory : path-like
        Folder for the results, made if missing: ``NAME.fits`` of every translator and ``galtrans-demo.png``. What
        is there from an earlier call is replaced.
    progress : bool, optional
        Show a progress bar on a terminal.

    Returns
    -------
    list of `~pathlib.Path`
        The files.

    Raises
    ------
    ImportError
        If matplotlib is not installed; before any work is done.
    """
    require("matplotlib", extra="report")
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    rows, paths = {}, []
    for name in tqdm(_translators(), unit="translator", disable=None if progress else True):
        path = directory / f"{name}.fits"
        with as_file(_sample("sdss")) as sample:
            write_fits(translate(sample, name, seed=SEED), path, overwrite=True)
        target = load_translator(name).card["target"]["survey"]
        rows.setdefault(target, {"SDSS (source)": _picture("sdss")})[name] = rgb(read(path))
        paths.append(path)
    rows["cfhtls-wide"]["CFHTLS Wide (truth)"] = _picture("cfhtls-wide")
    return [*paths, _draw([rows[target] for target in sorted(rows)], directory / "galtrans-demo.png")]


def _translators():
    """Names of the shipped translators of SDSS images."""
    return [name for name in list_translators() if load_translator(name).card["source"]["survey"] == "sdss"]


def rgb(stack, stretch=6.0, softening=8.0):
    """
    Colour image of a stack after Lupton et al. (2004, PASP 116, 133), from the bands i, r and g.

    Parameters
    ----------
    stack : `~astro_galtrans.bandstack.BandStack`
    stretch : float, optional
        Surface brightness of the linear part, nanomaggy per arcsec^2: the same for all images, that they can be
        compared.
    softening : float, optional
        Q of the reference.

    Returns
    -------
    `~numpy.ndarray`
        uint8 ``[H, W, 3]``, first row at the bottom of the sky image.
    """
    from .geometry import pixel_area

    factor = flux_factor(stack.zeropoint, 22.5) / pixel_area(stack.wcs, stack.data.shape[1:])
    planes = [weight * factor * stack.data[stack.bands.index(band)] for band, weight in WEIGHTS.items()]
    with np.errstate(invalid="ignore", divide="ignore"):  # it divides by brightness, then sets black what had none
        return make_lupton_rgb(*planes, stretch=stretch, Q=softening)


def _sample(survey):
    return files("astro_galtrans").joinpath(f"data/sample_{get_survey(survey).name}.fits.fz")


def _picture(survey):
    with as_file(_sample(survey)) as path:
        return rgb(read(path))


def _draw(rows, path):
    """Draw a row of pictures for each target survey."""
    from matplotlib.figure import Figure

    columns = max(map(len, rows))
    figure = Figure(figsize=(3.4 * columns, 3.6 * len(rows)), layout="constrained", facecolor="white")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for panels, line in zip(rows, grid, strict=True):
        for axes, (title, image) in zip(line, panels.items(), strict=False):
            axes.imshow(np.asarray(image), origin="lower", interpolation="nearest")
            axes.set_title(title)
    for axes in grid.flat:
        axes.set_axis_off()
    with whole_file(path) as file:
        figure.savefig(file, dpi=110)
    return path
