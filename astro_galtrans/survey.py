"""Catalogues of objects through a translator, in shards that any number of workers make and that a later run keeps."""

import glob
import json
import shutil
import warnings
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import Table

from ._columns import name_rows
from ._files import whole_file
from ._locks import locked
from ._optional import require
from ._positions import sky_positions
from ._progress import tqdm
from ._release import __version__
from .bandstack import Windows, cut_stack
from .batch import find_images
from .exceptions import Failure, GaltransWarning
from .stamps import SHARDS_FILE, target_survey
from .translate import load_translator
from .translate.pipeline import results
from .translate.request import Request, Sampling

__all__ = ["cluster", "translate_catalogue"]

SHARD = 512  # objects: of 64 x 64 pixels and five bands in and on a finer grid out, 0.4 GB
CELL = 2048  # source pixels a side that are read at once: of five bands with their noise 170 MB
CHUNK = 32  # objects of a chunk of zarr, and written at once
FLAGS = {"failed": 1, "edge": 2, "outside": 4}  #: bits of the column ``flags``


class Field(NamedTuple):
    """One image of a survey: the files of its bands, and where the middle one lies."""

    name: str
    files: list
    shape: tuple
    wcs: object


class Part(NamedTuple):
    """Objects of one shard that lie in one cell of an image."""

    field: Field
    number: int  # of the field
    rows: np.ndarray  # in the catalogue
    places: np.ndarray  # [n, 2] right ascension and declination (deg)
    pixels: np.ndarray  # [n, 2] (y, x) in the image

    def of(self, objects):
        """Return the part with some of its objects."""
        return Part(self.field, self.number, self.rows[objects], self.places[objects], self.pixels[objects])


def translate_catalogue(
    catalogue, images, translator, output, *, size=64, ra=None, dec=None, shard=SHARD, seed=0, n_samples=None,
    client=None, progress=True, report=None, **reading,
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
        If the output holds shards made with other settings, or another process writes to it.
    ValueError
        If the catalogue has no coordinates, or no object lies on an image.
    RuntimeError
        If a worker has another version of this package, or other weights.
    """
    require("zarr", "scale")
    if not isinstance(catalogue, Table):
        if Path(catalogue).suffix == ".parquet":
            require("pyarrow", "scale")
        catalogue = Table.read(catalogue)
    output, report = Path(output).expanduser(), report or (lambda _message: None)
    named = str(translator)
    loaded = load_translator(translator)
    places = np.stack(sky_positions(catalogue, ra, dec))
    fields = _fields(images, loaded, reading, report)
    parts, absent = _assigned(fields, places)
    if not parts:
        msg = f"none of the {len(catalogue)} objects of the catalogue lies on one of the {len(fields)} images"
        raise ValueError(msg)
    if absent.any():
        msg = f"off all images, or without a position: {absent.sum()} objects ({name_rows(absent)})"
        warnings.warn(msg, GaltransWarning, stacklevel=2)
    shards = _shards(parts, shard)
    survey = target_survey(loaded)
    settings = {
        "translator": loaded.name, "weights": loaded.checkpoint.sha256, "version": __version__, "size": size,
        "shard": shard, "seed": seed, "n_samples": n_samples, "reading": json.loads(json.dumps(reading, default=str)),
        "objects": len(catalogue), "shards": len(shards), "survey": survey.to_dict(),
        "pixel_scale": loaded.target["pixel_scale"],
    }  # fmt: skip
    output.mkdir(parents=True, exist_ok=True)
    with locked(output):
        _check_settings(output, settings)
        todo = [number for number in range(len(shards)) if not _path(output, number).exists()]
        job = _Job(named, settings, reading, str(output))
        tally = {"translated": 0, "failed": 0}
        count = sum(len(part.rows) for number in todo for part in shards[number])
        with tqdm(total=count, unit="object", disable=None if progress else True) as bar:
            for done in _made(job, todo, shards, client):
                for name in tally:
                    tally[name] += done[name]
                for message in done["messages"]:
                    report(message)
                bar.update(done["translated"] + done["failed"])
    return {
        "objects": len(catalogue), "absent": int(absent.sum()), **tally, "shards": len(shards),
        "skipped": len(shards) - len(todo),
    }  # fmt: skip


@contextmanager
def cluster(workers=None, scheduler=None):
    """
    Workers of `dask.distributed`, as a client.

    Parameters
    ----------
    workers : int, optional
        Processes on this machine, of one thread each.
    scheduler : str, optional
        Address of a scheduler that runs already.

    Yields
    ------
    `distributed.Client` or None
        None if neither is asked for.
    """
    if not (workers or scheduler):
        yield None
        return
    distributed = require("distributed", "scale")
    if scheduler:
        with distributed.Client(scheduler) as client:
            yield client
        return
    # its workers have one thread for numpy and torch each, by dask's own default (OMP_NUM_THREADS)
    with (
        distributed.LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0") as local,
        distributed.Client(local) as client,
    ):
        yield client


def _fields(images, translator, reading, report):
    """Images of a survey; those that cannot be opened are reported and left out."""
    patterns = [images] if isinstance(images, str | Path) else images
    files = []
    for item in map(str, patterns):
        pattern = glob.has_magic(item) and not Path(item).exists()
        found = sorted(glob.glob(item, recursive=True)) if pattern else [item]  # noqa: PTH207 - of any root
        if not found:
            msg = f"there is no file {item}"
            raise FileNotFoundError(msg)
        files += found
    fields = []
    for name, group in find_images(files).items():
        image = group if len(group) > 1 else group[0]
        try:
            windows = Windows(image, translator.bands_in, reading.get("bands"))
        except (OSError, ValueError) as err:
            report(f"{name}: {err}")
            continue
        fields.append(Field(name, image, windows.shape, windows.wcs))
    if not fields:
        msg = f"none of {len(files)} files can be read as an image of {', '.join(translator.bands_in)}"
        raise ValueError(msg)
    return fields


def _assigned(fields, places):
    """List of `Part`, one for each cell of each image that has objects, and which objects lie on no image."""
    best, owner = np.full(places.shape[1], -1.0), np.full(places.shape[1], -1)
    pixels = np.zeros((places.shape[1], 2))
    known = np.flatnonzero(np.isfinite(places).all(axis=0))
    for number, field in enumerate(fields):
        rows = known[_near(field, places[:, known])]
        if not rows.size:
            continue
        x, y = field.wcs.world_to_pixel(SkyCoord(*places[:, rows], unit="deg"))
        found = np.stack([y, x], axis=1)
        edge = np.min([found + 0.5, np.array(field.shape) - 0.5 - found], axis=(0, 2))  # how far from the nearest
        edge[~np.isfinite(edge)] = -1
        better = edge > best[rows]
        best[rows[better]], owner[rows[better]], pixels[rows[better]] = edge[better], number, found[better]
    cells = np.maximum(pixels // CELL, 0).astype(int)
    order = np.lexsort([np.arange(len(owner)), cells[:, 1], cells[:, 0], owner])
    order = order[owner[order] >= 0]
    keys = np.column_stack([owner, cells])[order]
    starts = np.flatnonzero(np.r_[True, (keys[1:] != keys[:-1]).any(axis=1)]) if len(order) else []
    groups = np.split(order, starts[1:]) if len(order) else []
    numbers = (int(owner[rows[0]]) for rows in groups)
    parts = [Part(fields[k], k, rows, places[:, rows].T, pixels[rows]) for k, rows in zip(numbers, groups, strict=True)]
    return parts, owner < 0


def _near(field, places):
    """Which positions are within the circle around an image: projections also put the other side of the sky on it."""
    height, width = field.shape
    x, y = (
        np.array([(width - 1) / 2, -0.5, width - 0.5, -0.5, width - 0.5]),
        np.array([(height - 1) / 2, -0.5, -0.5, height - 0.5, height - 0.5]),
    )
    outline = field.wcs.pixel_to_world(x, y).icrs
    radius = outline[0].separation(outline[1:]).max()
    return np.flatnonzero(outline[0].separation(SkyCoord(*places, unit="deg")) <= 1.01 * radius)


def _shards(parts, size):
    """Lists of parts with at most ``size`` objects in all; parts are divided where that is needed."""
    shards, room = [[]], size
    for part in parts:
        start = 0
        while start < len(part.rows):
            if not room:
                shards.append([])
                room = size
            taken = slice(start, start + room)
            shards[-1].append(part.of(taken))
            room -= len(shards[-1][-1].rows)
            start = taken.stop
    return shards


def _check_settings(output, settings):
    place = output / SHARDS_FILE
    if place.exists():
        there = json.loads(place.read_text(encoding="utf8"))
        differ = [name for name in settings if there.get(name) != settings[name]]
        if differ:
            msg = f"{output} holds shards made with other settings ({', '.join(differ)}); choose another folder"
            raise FileExistsError(msg)
        return
    with whole_file(place) as file:
        file.write_text(json.dumps(settings, indent=1), encoding="utf8")


def _path(output, number):
    return Path(output) / f"shard-{number:06d}.zarr"


def _made(job, todo, shards, client):
    """Yield what `_Job.make` returns of each shard, as they are done."""
    if client is None:
        yield from (job.make(number, shards[number]) for number in todo)
        return
    from distributed import as_completed

    futures = client.map(_make, todo, [shards[number] for number in todo], job=job, pure=False)
    for future in as_completed(futures):
        yield future.result()
        future.release()


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

    def make(self, number, parts):
        """Translate the objects of a shard into a zarr group; return how many, and what could not be read."""
        settings = self.settings
        translator = _worker_translator(self.translator, settings["weights"], settings["version"])
        options = {"bands": None, "zeropoint": None, "unit": None, "align": True, "bad_planes": None, "strict": False}
        sampling = Sampling.of(translator, settings["n_samples"], "mean", settings["seed"])
        request = Request(translator, sampling, None, options | self.reading, None, None, None)
        rows = np.concatenate([part.rows for part in parts])
        messages = []
        stamps = self._stamps(parts, request, messages)
        found = results(stamps, request, record=True, seeds=rows)
        place = _path(self.output, number)
        unfinished = place.with_name(f".part-{place.name}")
        if unfinished.exists():
            shutil.rmtree(unfinished)
        failures = self._write(unfinished, rows, parts, found, translator)
        unfinished.rename(place)
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
        notes, start = {"failures": {}, "outside": {}}, 0
        for block in _blocks(found):
            flux, std = (np.full((len(block), *shape[1:]), np.nan, np.float32) for _ in range(2))
            mask = np.ones(flux.shape, np.uint8)
            for k, result in enumerate(block):
                row, number = int(rows[start + k]), start + k
                if isinstance(result, Failure):
                    columns["flags"][number] |= FLAGS["failed"]
                    notes["failures"][row] = f"{type(result.error).__name__}: {result.error}"
                    continue
                ((data, variance, bad, _),) = result.parts
                flux[k], std[k], mask[k] = data, np.sqrt(variance), 0 if bad is None else bad
                columns["seed"][number] = result.image.seed or 0
                if result.image.outside:
                    columns["flags"][number] |= FLAGS["outside"]
                    notes["outside"][row] = "; ".join(map(str, result.image.outside))
                edge = result.image.bad is not None and result.image.bad.any(axis=0)[[0, -1]].all(axis=1).any()
                columns["flags"][number] |= FLAGS["edge"] * bool(edge)
            place = slice(start, start + len(block))
            for name, values in (("flux", flux), ("std", std), ("mask", mask)):
                arrays[name][place] = values
            start = place.stop
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
