"""Objects of a translated survey one by one: as CCDData, and as FITS files."""

from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty
from astropy.wcs import WCS

from astro_galtrans._locks import held
from astro_galtrans._progress import tqdm
from astro_galtrans.bandstack import write_fits
from astro_galtrans.translate.workers import done_by

from .shards import open_shard, read_settings, shard_path

__all__ = ["read_objects", "write_objects"]


def read_objects(folder, rows=None):
    """
    Read objects that `translate_catalogue` made, one after the other.

    Parameters
    ----------
    folder : path-like
        The output of `translate_catalogue`.
    rows : iterable of int, optional
        Rows of the catalogue; all by default.

    Yields
    ------
    row : int
        In the catalogue. Those that failed are left out.
    images : dict of str to `~astropy.nddata.CCDData`
        By band, ``[H, W]``, with unit, standard deviation, mask (of bad pixels) and WCS; ``meta`` has the translator,
        its weights and seed. Lookup tables of a WCS's distortion are not kept.

    Raises
    ------
    FileNotFoundError
        If the folder holds no shards.

    Examples
    --------
    >>> import tempfile
    >>> from importlib.resources import files
    >>> from astropy.table import Table
    >>> from astro_galtrans.survey import read_objects, translate_catalogue
    >>> images = [files("astro_galtrans") / "data" / "sample_sdss.fits.fz"]
    >>> table = Table({"ra": [150.063, 150.061], "dec": [2.198, 2.199]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     counts = translate_catalogue(table, images, "srgan-sdss-cfhtls", f"{folder}/out", size=24, progress=False)
    ...     for row, found in read_objects(f"{folder}/out"):
    ...         print(row, found["r"].shape, found["r"].unit)
    0 (48, 48) adu
    1 (48, 48) adu
    """
    settings = read_settings(folder)
    wanted = None if rows is None else np.asarray(list(rows))
    for number in range(settings["shards"]):
        if shard_path(folder, number).exists():
            yield from _of_shard(number, folder, settings, wanted)


def write_objects(folder, output, rows=None, *, client=None, progress=True):
    """
    Write objects that `translate_catalogue` made as FITS, ``ROW.fits`` each: cubes with ``MASK`` and ``UNCERT``.

    Parameters
    ----------
    folder, rows
        As for `read_objects`.
    output : path-like
        Folder, made if missing. Files that are there are kept.
    client : `distributed.Client`, optional
        Workers, see `cluster`; by default this process does the work.
    progress : bool, optional
        Show a bar on a terminal.

    Returns
    -------
    int
        The number of files written.

    Raises
    ------
    FileNotFoundError
        If the folder holds no shards.
    OSError
        If another process writes to the output, or the disk is full.

    Examples
    --------
    >>> import tempfile
    >>> from importlib.resources import files
    >>> from pathlib import Path
    >>> from astropy.table import Table
    >>> from astro_galtrans.survey import translate_catalogue, write_objects
    >>> images = [files("astro_galtrans") / "data" / "sample_sdss.fits.fz"]
    >>> table = Table({"ra": [150.063, 150.061], "dec": [2.198, 2.199]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     counts = translate_catalogue(table, images, "srgan-sdss-cfhtls", f"{folder}/out", size=24, progress=False)
    ...     write_objects(f"{folder}/out", f"{folder}/fits", progress=False)
    ...     sorted(path.name for path in Path(folder, "fits").glob("*.fits"))
    2
    ['00000000.fits', '00000001.fits']
    """
    settings, output = read_settings(folder), Path(output).expanduser().absolute()
    wanted = None if rows is None else np.asarray(list(rows))
    todo = [number for number in range(settings["shards"]) if shard_path(folder, number).exists()]
    common = {"folder": str(Path(folder).absolute()), "settings": settings, "wanted": wanted, "output": str(output)}
    count = 0
    with held(output), tqdm(total=len(todo), desc="FITS", unit="shard", disable=None if progress else True) as bar:
        for written in done_by(_write_shard, todo, client=client, **common):
            count += written
            bar.update()
    return count


def _write_shard(number, folder, settings, wanted, output):
    """Write the objects of one shard; return how many were not there."""
    count = 0
    for row, images in _of_shard(number, folder, settings, wanted):
        place = Path(output) / f"{row:08d}.fits"
        if not place.exists():
            write_fits(images, place)
            count += 1
    return count


def _of_shard(number, folder, settings, wanted):
    """Yield row and images of the objects of one shard."""
    group = open_shard(folder, number)
    rows, bands, unit = group["row"][:], group.attrs["bands"], u.Unit(group.attrs["unit"])
    columns = {name: group[name][:] for name in ("flags", "ra", "dec", "seed", "image")}
    chosen = (columns["flags"] & 1 == 0) & (True if wanted is None else np.isin(rows, wanted))
    for k in np.flatnonzero(chosen):
        cards = group["wcs"][k].tobytes().decode().strip() if "wcs" in group else ""
        wcs = WCS(fits.Header.fromstring(cards)) if cards else None
        flux, std, mask = (group[name][k] for name in ("flux", "std", "mask"))
        meta = {
            "GTMODEL": settings["translator"], "GTHASH": settings["weights"], "GTVERS": settings["version"],
            "GTSEED": int(columns["seed"][k]), "GTROW": int(rows[k]), "RA": float(columns["ra"][k]),
            "DEC": float(columns["dec"][k]), "MAGZERO": settings["survey"]["zeropoint"],
        }  # fmt: skip
        yield int(rows[k]), {
            band: CCDData(
                flux[c], unit=unit, wcs=wcs, mask=mask[c].astype(bool), uncertainty=StdDevUncertainty(std[c]),
                meta=meta | {"FILTER": band},
            )
            for c, band in enumerate(bands)
        }  # fmt: skip
