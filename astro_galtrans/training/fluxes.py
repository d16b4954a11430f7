"""
The table that a photometric sampler is trained on: fluxes of sources in the source, in the translation, in the target.

Only fluxes are kept of a pair, so that pairs are simulated, translated, measured and forgotten in chunks of 64.
"""

import math
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import takewhile
from pathlib import Path

import numpy as np
import torch

from astro_galtrans._files import whole_file
from astro_galtrans._locks import die_with_parent
from astro_galtrans._progress import tqdm
from astro_galtrans.models.photometric.measure import find_sources
from astro_galtrans.pairs.simulated.build import SHARD, simulate_shard
from astro_galtrans.pairs.store import PairStore

from .data import read_pair
from .observed import Observations

__all__ = ["flux_rows", "make_flux_table", "noise_in_softening"]

NEAR = 1.0  # arcsec within which a detected source is the one that the table of the pairs tells of
CLEAN = 1.5  # arcsec around a source within which all pixels have to be good
MISSING = 0.1  # share of the pairs from which bands are left out, for translators that do with fewer
BATCH = 16  # stamps through the network at once: on a CPU more are no faster


def make_flux_table(
    translator, pairs, count=None, path=None, *, start=0, workers=1, seed=0, seconds=None, progress=True,
):  # fmt: skip
    """
    Make the table of fluxes that a photometric sampler is trained on.

    Parameters
    ----------
    translator : `~astro_galtrans.Translator`
        Deterministic.
    pairs : `~astro_galtrans.pairs.simulated.PairSettings` or `~astro_galtrans.pairs.store.PairStore`
        Pairs to simulate, of which nothing else is kept; or pairs that are there.
    count : int, optional
        Number of pairs; all of a store by default.
    path : path-like, optional
        File (``.npz``) to write. Chunks that are done are kept in a folder beside it until all are, so that a call that
        was interrupted goes on.
    start : int, optional
        The first pair.
    workers : int, optional
        Processes.
    seed : int, optional
        Of the bands that are left out of some pairs.
    seconds : float, optional
        Time after which no chunk is begun: the table is of those that are done, which may be fewer than asked for.
    progress : bool, optional
        Show a progress bar on a terminal.

    Returns
    -------
    dict of str to `~numpy.ndarray`
        A row for each source of which all apertures are on the stamp: fluxes ``x`` ``[N, A, C]``, ``m`` and ``y``
        ``[N, A, C']`` in softening units, ``numbers`` ``[N, 3 C]`` as the network is told (PSF, noise, bands); and,
        NaN where the pairs do not say, ``z``, ``r`` and ``star`` (1 for stars) of the main source, and ``pair``, its
        number.

    Raises
    ------
    ValueError
        If the translator samples.

    Examples
    --------
    >>> from astro_galtrans import load_translator
    >>> from astro_galtrans.pairs.simulated import PairSettings
    >>> from astro_galtrans.training import make_flux_table
    >>> settings = PairSettings(size=40, kind="galaxy", seed=5)
    >>> table = make_flux_table(load_translator("srgan-sdss-cfhtls"), settings, 64, progress=False)
    >>> table["y"].shape[1:]  # seven apertures and the peak, five bands
    (8, 5)
    """
    if translator.samples:
        msg = f"{translator.name} samples already; the table is for a deterministic translator"
        raise ValueError(msg)
    is_store = isinstance(pairs, PairStore)
    stop = min(len(pairs), start + (count or len(pairs))) if is_store else start + count
    firsts = range(start, stop, SHARD)
    name = Path(path).name if path else ""
    place = nullcontext(Path(path).with_name(f".part-{name}")) if path else tempfile.TemporaryDirectory()
    with place as folder:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        todo = [first for first in firsts if not _chunk(folder, first).exists()]
        job = partial(_write_chunk, translator, pairs, folder, seed, stop)
        with tqdm(total=len(todo) * SHARD, unit="pair", disable=None if progress else True) as bar:
            for _ in _run(job, todo, workers, time.monotonic() + (seconds or math.inf)):
                bar.update(SHARD)
        chunks = sorted(folder.glob("*.npz"))
        if not chunks:
            msg = f"{seconds:.0f} s were too few for a single chunk of {SHARD} pairs"
            raise ValueError(msg)
        table = joined([dict(np.load(chunk)) for chunk in chunks])
        if path:
            with whole_file(path) as file, file.open("wb") as stream:
                np.savez_compressed(stream, **table)
            for chunk in folder.iterdir():
                chunk.unlink()
            folder.rmdir()
    return table


def joined(tables):
    """Return the rows of several tables as one."""
    return {name: np.concatenate([table[name] for table in tables]) for name in tables[0]}


def _run(job, todo, workers, end):
    """Yield after each chunk that is done, until all are, or the time is over."""
    if workers == 1:
        yield from map(job, takewhile(lambda _: time.monotonic() < end, todo))
        return
    import multiprocessing

    # spawned: torch's threads, of which the parent may have some, do not survive a fork
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool:
        for future in as_completed([pool.submit(job, first) for first in todo]):
            if not future.cancelled():
                yield future.result()
            if time.monotonic() > end:
                pool.shutdown(wait=False, cancel_futures=True)


def _begin():
    die_with_parent()
    torch.set_num_threads(1)


def _chunk(folder, first):
    return folder / f"{first:08d}.npz"


def _write_chunk(translator, pairs, folder, seed, stop, first):
    number = min(SHARD, stop - first)
    if isinstance(pairs, PairStore):
        rows = flux_rows(translator, pairs.subset(np.arange(first, first + number)), seed=seed)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            rows = flux_rows(translator, simulate_shard(scratch, pairs, first, number), seed=seed)
    with whole_file(_chunk(folder, first)) as file, file.open("wb") as stream:
        np.savez(stream, **rows)


def noise_in_softening(card):
    """Return the typical sky rms of the source in units of its softening, ``[C]``."""
    return np.array(card["source"]["sky_rms"]) / card["source"]["scaling"]["softening"]


@torch.inference_mode()
def flux_rows(translator, pairs, *, seed=0):
    """Return the rows of `make_flux_table` of all pairs of a store."""
    model, inputs, observations = translator.model, translator.inputs, Observations(pairs)
    softening = np.array(translator.target["scaling"]["softening"], np.float32)[:, None, None]
    factor = np.array(translator.card["calibration"]["flux"], np.float32)[:, None, None]
    pixel_scale, noise = translator.target["pixel_scale"], noise_in_softening(translator.card)
    fewer = translator.spec.observed and translator.fewest_bands < len(translator.bands_in)
    found, numbers = [], np.asarray(pairs.table["index"] if "index" in pairs.table.colnames else range(len(pairs)))
    for start in range(0, len(pairs), BATCH):
        batch = range(start, min(start + BATCH, len(pairs)))
        stamps = [read_pair(pairs, k) for k in batch]
        seen = [_some_bands(observations[k], translator.fewest_bands, [seed, int(numbers[k])]) if fewer
                else observations[k] for k in batch]  # fmt: skip
        planes = np.stack([inputs.planes(stamp[0], each) for stamp, each in zip(stamps, seen, strict=True)])
        means = factor * np.sinh(model(torch.from_numpy(planes).to(model.device)).mean.cpu().numpy())
        for k, (_, target, good), plane, mean in zip(batch, stamps, planes, means, strict=True):
            sources = find_sources(plane, mean, translator.spec, pixel_scale, noise)
            found.append(_rows(sources, target / softening, good, pixel_scale, pairs.table[k], int(numbers[k])))
    return joined(found)


def _some_bands(observation, fewest, seed):
    rng = np.random.default_rng(seed)
    if rng.random() >= MISSING:
        return observation
    present = np.array(observation.present)
    present[rng.permutation(len(present))[rng.integers(fewest, len(present)) :]] = False
    return replace(observation, present=present)


def _rows(sources, target, good, pixel_scale, known, number):
    """Rows of the sources of a pair; ``known`` is its row in the table of the pairs, ``target`` in softening units."""
    use = np.flatnonzero(sources.whole & _clean(sources.positions, good, pixel_scale))
    middle = (np.array(target.shape[:0:-1]) - 1) / 2
    names = known.colnames
    place = middle + [known[name] / pixel_scale if name in names else 0.0 for name in "xy"]
    distance = np.hypot(*(sources.positions[use] - place).T) * pixel_scale
    main = (distance < NEAR) & (distance == distance.min(initial=np.inf))
    values = {name: np.where(main, known[name] if name in names else np.nan, np.nan) for name in ("z", "r")}
    star = np.where(main, known["kind"] == "star" if "kind" in names else np.nan, np.nan)
    fluxes = sources.patches.fluxes(target)[use]
    rows = {"x": sources.x[use], "m": sources.m[use], "y": fluxes, "numbers": sources.numbers[use]}
    rows |= values | {"star": star, "pair": np.full(len(use), number)}
    return {name: np.asarray(v, np.int64 if name == "pair" else np.float32) for name, v in rows.items()}


def _clean(positions, good, pixel_scale):
    """Whether all pixels near each source are good."""
    bad = np.argwhere(~good.all(axis=0))[:, ::-1]
    if not len(bad):
        return np.ones(len(positions), bool)
    nearest = [np.hypot(*(bad - place).T).min() for place in positions]
    return np.array(nearest).reshape(-1) * pixel_scale > CLEAN
