"""The main job on the bundled image: all shipped translators of SDSS images, side by side with the truth."""

from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from astropy.nddata import CCDData
from astropy.visualization import make_lupton_rgb, simple_norm

from astro_galtrans._progress import tqdm

from ._files import whole_file
from ._optional import require
from .bandstack import check_writable, read, write_fits
from .surveys import get_survey
from .translate import list_translators, load_translator, translate
from .units import flux_factor

__all__ = ["check_preview", "demo", "preview", "quicklook", "rgb", "sample"]

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
    return [*paths, _saved(_draw([rows[target] for target in sorted(rows)]), directory / "galtrans-demo.png")]


def _translators():
    """Names of the shipped translators of SDSS images; those that take galaxies away do not show the same field."""
    cards = {name: load_translator(name).card for name in list_translators()}
    return [name for name, card in cards.items()
            if card["source"]["survey"] == "sdss" and not card["training"]["data"].get("blends")]  # fmt: skip


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


def check_preview(path, *, overwrite=False):
    """
    Find out whether a preview can be drawn, before the work that it is to show.

    Parameters
    ----------
    path : path-like
    overwrite : bool, optional
        Whether an existing file may be replaced.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If the name does not end in ``.png``.
    OSError
        If the file exists and ``overwrite`` is false, or its folder does not exist or cannot be written to.
    """
    require("matplotlib", extra="report")
    if Path(path).suffix.lower() != ".png":
        msg = f"the preview is a PNG file; got {path}, expected a name that ends in .png"
        raise ValueError(msg)
    check_writable(path, overwrite)


def preview(image, result, path, **reading):
    """
    Write the picture of `quicklook` to a file.

    Parameters
    ----------
    image, result, **reading
        As for `quicklook`.
    path : path-like
        The PNG file to write; one that is there is replaced.

    Returns
    -------
    path-like
        The file.
    """
    return _saved(quicklook(image, result, **reading), path)


def quicklook(image, result, **reading):
    """
    Draw an image and its translation side by side: in colour if both have g, r and i, else their middle bands.

    Parameters
    ----------
    image, result : object
        What `astro_galtrans.bandstack.read` takes: what was translated, and what came out.
    **reading
        Options of `~astro_galtrans.bandstack.read` for ``image``: ``bands``, ``unit``, ``zeropoint``, ``bad_planes``.

    Returns
    -------
    `~matplotlib.figure.Figure`
        A notebook shows it, and its ``savefig`` writes it.

    Raises
    ------
    ImportError
        If matplotlib is not installed.

    Examples
    --------
    >>> from astro_galtrans import quicklook, translate
    >>> from astro_galtrans.demo import sample
    >>> image = sample("sdss")
    >>> figure = quicklook(image, translate(image, "srgan-sdss-cfhtls"))
    >>> len(figure.axes)
    2
    """
    require("matplotlib", extra="report")
    stacks = {"source": read(image, **reading), "translation": read(result)}
    colour = all(set(WEIGHTS) <= set(stack.bands) and stack.on_one_grid for stack in stacks.values())
    panels = {}
    for title, stack in stacks.items():
        middle = len(stack.bands) // 2
        bands = "i, r, g" if colour else stack.bands[middle]
        panels[f"{title} ({bands})"] = rgb(stack) if colour else _grey(stack.planes[middle].data)
    return _draw([panels])


def _grey(image):
    norm = simple_norm(image, "asinh", min_percent=1.0, max_percent=99.7, clip=True, invalid=0.0)
    return np.repeat(np.asarray(norm(image))[..., None], 3, axis=2)


def sample(survey="sdss"):
    """
    Return the bundled image, simulated, as a survey sees it.

    Parameters
    ----------
    survey : {"sdss", "cfhtls-wide"}, optional

    Returns
    -------
    dict of str to `~astropy.nddata.CCDData`
        By band, with unit and WCS.
    """
    with as_file(_sample(survey)) as path:
        return {band: CCDData.read(path, hdu=band.upper()) for band in get_survey(survey).band_names}


def _sample(survey):
    return files("astro_galtrans").joinpath(f"data/sample_{get_survey(survey).name}.fits.fz")


def _picture(survey):
    with as_file(_sample(survey)) as path:
        return rgb(read(path))


def _draw(rows):
    """Figure with a row of pictures for each target survey."""
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
    return figure


def _saved(figure, path):
    with whole_file(path) as file:
        figure.savefig(file, dpi=110)
    return path
