"""Catalogues of objects through a translator, in shards that any number of workers make and that a later run keeps."""

import json
import warnings
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table
from astropy.wcs import WCS

from astro_galtrans._columns import name_rows
from astro_galtrans._files import fingerprint
from astro_galtrans._locks import locked
from astro_galtrans._optional import require
from astro_galtrans._positions import sky_positions
from astro_galtrans._progress import tqdm
from astro_galtrans._release import __version__
from astro_galtrans.bandstack import Windows, cut_stack, psf_by_band
from astro_galtrans.exceptions import Failure, GaltransWarning
from astro_galtrans.stamps import SHARDS_FILE, target_survey
from astro_galtrans.translate import load_translator
from astro_galtrans.translate.pipeline import results
from astro_galtrans.translate.request import Request, Sampling
from astro_galtrans.translate.workers import done_by

from .fields import CELL, assigned, find_fields, identity, in_shards
from .shards import check_settings, check_workers, shard_path, sweep_unfinished, whole_folder

__all__ = ["translate_catalogue"]

SHARD = 512  # objects: of 64 x 64 pixels and five bands in and on a finer grid out, 0.4 GB
CHUNK = 32  # objects of a chunk of zarr, and written at once
FLAGS = {"failed": 1, "edge": 2, "outside": 4}  #: bits of the column ``flags``


def translate_catalogue(
    catalogue, images, translator, output, *, size=64, ra=None, dec=None, shard=SHARD, seed=0, n_samples=None,
    psf=None, client=None, progress=True, report=None, **reading,
):  # fmt: skip
    """
    Cut the objects of a catalogue from images of a survey, and translate them.

    Each object is taken from the image in which it is farthest from an edge. The output is a folder of zarr groups
    (version 3), one for each shard, which appear when they are whole: after an interruption the same call makes those
    that are missing. `astro_galtrans.stamps.Stamps.from_files` reads all of them.

    Parameters
    ----------
    catalogue : `~astropy.table.Table` or path-like
        With right ascension and declination, or a SkyCoord column.
    images : list of path-like
        FITS files, folders or lists, as `astro_galtrans.batch.find_images` sorts them into images, or patterns such as
        ``"survey/*.fits"``.
    translator : str or path-like
        Name or file: each worker loads it once.
    output : path-like
        Folder, made if missing.
    size : int, optional
        Side of the stamps in pixels of the images.
    ra, dec : str, optional
        Columns of the catalogue.
    shard : int, optional
        Objects in a shard.
    seed : int, optional
        Seed of a translator that samples; each object has one of its own, made of this and its row.
    n_samples : int, optional
        Samples that are averaged.
    psf : float, `~numpy.ndarray` or dict of them by band, optional
        PSF of all images, as for `astro_galtrans.translate`; by default that of the stars in each part of 2048 x 2048
        pixels of an image, with its wings where they show.
    client : `distributed.Client`, optional
        Workers, see `cluster`; by default this process does the work.
    progress : bool, optional
        Show a bar over objects, with rate and time left, on a terminal.
    report : callable, optional
        Called with each message on a file that cannot be read.
    **reading
        ``bands``, ``unit``, ``zeropoint``, ``bad_planes``, ``strict``, as for `astro_galtrans.translate`.

    Returns
    -------
    dict
        Numbers of ``objects`` in the catalogue, ``absent`` (off all images, or without a position), ``translated`` and
        ``failed`` ones, and of ``shards`` and those ``skipped`` as they were there.

    Raises
    ------
    OSError
        If the output holds shards made with other settings, another process writes to it, or the disk is full.
    ConnectionError
        If the scheduler is lost.
    ValueError
        If the catalogue has no coordinates, or no object lies on an image.
    RuntimeError
        If a worker has another version of this package, or other weights or none, or dies again and again.

    Examples
    --------
    >>> import tempfile
    >>> from importlib.resources import files
    >>> from astropy.table import Table
    >>> from astro_galtrans.survey import translate_catalogue
    >>> images = [files("astro_galtrans") / "data" / "sample_sdss.fits.fz"]
    >>> table = Table({"ra": [150.063, 150.061], "dec": [2.198, 2.199]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     counts = translate_catalogue(table, images, "srgan-sdss-cfhtls", f"{folder}/out", size=24, progress=False)
    >>> counts["translated"], counts["absent"], counts["shards"]
    (2, 0, 1)
    """
    require("zarr", "scale")
    if not isinstance(catalogue, Table):
        if Path(catalogue).suffix == ".parquet":
            require("pyarrow", "scale")
        catalogue = Table.read(catalogue)
    # workers may have been started in another folder
    output, report = Path(output).expanduser().absolute(), report or (lambda _message: None)
    loaded = load_translator(translator)
    named = Path(translator).expanduser()
    named = str(named.absolute() if named.is_file() else translator)
    places = np.stack(sky_positions(catalogue, ra, dec))
    fields = find_fields(images, loaded, reading, report)
    parts, absent = assigned(fields, places)
    if not parts:
        msg = f"none of the {len(catalogue)} objects of the catalogue lies on one of the {len(fields)} images"
        raise ValueError(msg)
    if absent.any():
        msg = f"off all images, or without a position: {absent.sum()} objects ({name_rows(absent)})"
        warnings.warn(msg, GaltransWarning, stacklevel=2)
    shards = in_shards(parts, shard)
    survey = target_survey(loaded)
    settings = {
        "translator": loaded.name, "weights": loaded.checkpoint.sha256, "version": __version__, "size": size,
        "shard": shard, "seed": seed, "n_samples": n_samples, "reading": json.loads(json.dumps(reading, default=str)),
        "objects": len(catalogue), "catalogue": fingerprint(places), "images": identity(fields),
        "shards": len(shards), "survey": survey.to_dict(),
        "pixel_scale": loaded.target["pixel_scale"],
        "psf": None if psf is None else fingerprint({"psf": psf}),
    }  # fmt: skip
    output.mkdir(parents=True, exist_ok=True)
    with locked(output):
        check_settings(output / SHARDS_FILE, settings)
        sweep_unfinished(output)
        todo = [number for number in range(len(shards)) if not shard_path(output, number).exists()]
        if todo:
            check_workers(client, named, loaded.checkpoint.sha256)
        job = _Job(named, settings, reading, str(output), psf)
        tally = {"translated": 0, "failed": 0}
        count = sum(len(part.rows) for number in todo for part in shards[number])
        with tqdm(total=count, unit="object", disable=None if progress else True) as bar:
            for done in done_by(_make, todo, [shards[number] for number in todo], client=client, job=job):
                for name in tally:
                    tally[name] += done[name]
                for message in done["messages"]:
                    report(message)
                bar.update(done["translated"] + done["failed"])
    return {
        "objects": len(catalogue), "absent": int(absent.sum()), **tally, "shards": len(shards),
        "skipped": len(shards) - len(todo),
    }  # fmt: skip


def _psf_of_cell(windows, request, cell):
    """What stars tell of the PSF in a cell of an image; the parts of a cell may go into several shards."""
    key = json.dumps([windows.identity, request.reading, cell], default=str)
    if key not in _PSFS:
        _PSFS.clear()  # cells come one after the other
        corner = [int(max(n, 0)) * CELL for n in cell]
        window = [slice(start, min(start + CELL, n)) for start, n in zip(corner, windows.shape, strict=True)]
        _PSFS[key] = psf_by_band(windows.read(*window, **request.window_reading))
    return _PSFS[key]


_PSFS = {}


def _make(number, parts, job):
    return job.make(number, parts)


@lru_cache(maxsize=4)
def _worker_translator(name, sha256, version):
    """The translator of a worker process, if it is the one of the process that asks."""
    translator = load_translator(name)
    if (translator.checkpoint.sha256, __version__) != (sha256, version):
        msg = (
            f"this worker has version {__version__} and weights {translator.checkpoint.sha256[:12]} of {name}, the run "
            f"version {version} and weights {sha256[:12]}; install the same on all"
        )
        raise RuntimeError(msg)
    return translator


class _Job(NamedTuple):
    """What all shards of a run have in common."""

    translator: str
    settings: dict
    reading: dict
    output: str
    psf: object

    def make(self, number, parts):
        """Translate the objects of a shard into a zarr group; return how many, and what could not be read."""
        settings = self.settings
        translator = _worker_translator(self.translator, settings["weights"], settings["version"])
        options = {"bands": None, "zeropoint": None, "unit": None, "align": True, "bad_planes": None, "strict": False}
        sampling = Sampling.of(translator, settings["n_samples"], "mean", settings["seed"])
        request = Request(translator, sampling, None, options | self.reading, None, None, None, self.psf)
        rows = np.concatenate([part.rows for part in parts])
        messages = []
        stamps = self._stamps(parts, request, messages)
        found = results(stamps, request, record=True, seeds=rows, names=[f"object {row}" for row in rows])
        with whole_folder(shard_path(self.output, number)) as place:
            failures = self._write(place, rows, parts, found, translator)
        return {"translated": len(rows) - len(failures), "failed": len(failures), "messages": messages}

    def _stamps(self, parts, request, messages):
        """Yield the stamp of each object, or an error in its place."""
        for part in parts:
            field = part.field
            try:
                windows = Windows(field.files, request.translator.bands_in, request.reading["bands"])
                half = self.settings["size"]  # half a stamp, and room for bands on other grids
                low = np.maximum(np.floor(part.pixels.min(axis=0)).astype(int) - half, 0)
                high = np.minimum(np.ceil(part.pixels.max(axis=0)).astype(int) + half + 1, field.shape)
                area = windows.read(slice(low[0], high[0]), slice(low[1], high[1]), **request.window_reading)
                if request.psf is None and request.translator.spec.observed:
                    area = replace(area, psf=_psf_of_cell(windows, request, tuple(part.pixels[0] // CELL)))
            except Exception as err:  # noqa: BLE001 - of a damaged file any; the objects of other files are still to do
                messages.append(f"{field.name}: {type(err).__name__}: {err}")
                yield from (err for _ in part.rows)
                continue
            yield from cut_stack(area, SkyCoord(*part.places.T, unit="deg"), self.settings["size"])

    def _write(self, path, rows, parts, found, translator):
        """Write the results of a shard; return the reasons of those that failed, by row."""
        import zarr

        side = self.settings["size"] * translator.spec.scale
        shape = (len(rows), len(translator.bands_out), side, side)
        group = zarr.create_group(path)
        names, chunks = ("object", "band", "y", "x"), (min(CHUNK, len(rows)), *shape[1:])
        arrays = {
            name: group.create_array(
                name, shape=shape, chunks=chunks, dtype=dtype, dimension_names=names, fill_value=fill
            )
            for name, dtype, fill in (("flux", "f4", np.nan), ("std", "f4", np.nan), ("mask", "u1", 1))
        }
        columns = {
            "row": rows, "ra": np.concatenate([part.places[:, 0] for part in parts]),
            "dec": np.concatenate([part.places[:, 1] for part in parts]),
            "image": np.repeat([part.number for part in parts], [len(part.rows) for part in parts]),
            "flags": np.zeros(len(rows), np.uint8), "seed": np.zeros(len(rows), np.int64),
        }  # fmt: skip
        notes, start, headers = {"failures": {}, "outside": {}}, 0, [b""] * len(rows)
        for block in _blocks(found):
            flux, std = (np.full((len(block), *shape[1:]), np.nan, np.float32) for _ in range(2))
            mask = np.ones(flux.shape, np.uint8)
            for k, result in enumerate(block):
                row, number = int(rows[start + k]), start + k
                if isinstance(result, Failure):
                    columns["flags"][number] |= FLAGS["failed"]
                    notes["failures"][row] = f"{type(result.error).__name__}: {result.error}"
                    continue
                ((data, variance, bad, wcs),) = result.parts
                headers[number] = wcs.to_header_string(relax=True).encode() if isinstance(wcs, WCS) else b""
                flux[k], std[k], mask[k] = data, np.sqrt(variance), 0 if bad is None else bad
                columns["seed"][number] = result.image.seed or 0
                if result.image.outside:
                    columns["flags"][number] |= FLAGS["outside"]
                    notes["outside"][row] = "; ".join(result.image.outside.values())
                edge = result.image.bad is not None and result.image.bad.any(axis=0)[[0, -1]].all(axis=1).any()
                columns["flags"][number] |= FLAGS["edge"] * bool(edge)
            place = slice(start, start + len(block))
            for name, values in (("flux", flux), ("std", std), ("mask", mask)):
                arrays[name][place] = values
            start = place.stop
        longest = max(80, *map(len, headers))
        # cards of FITS, as bytes: zarr has no standard for text
        cards = np.frombuffer(b"".join(h.ljust(longest) for h in headers), np.uint8).reshape(len(rows), longest)
        group.create_array("wcs", data=cards, dimension_names=("object", "character"))
        for name, values in columns.items():
            group.create_array(name, data=np.asarray(values), dimension_names=("object",))
        group.attrs.update(
            notes | {"bands": list(translator.bands_out), "unit": translator.target["unit"], "flag_bits": FLAGS,
                     "images": {str(part.number): part.field.name for part in parts}}
        )  # fmt: skip
        return notes["failures"]


def _blocks(found):
    block = []
    for result in found:
        block.append(result)
        if len(block) == CHUNK:
            yield block
            block = []
    if block:
        yield block
