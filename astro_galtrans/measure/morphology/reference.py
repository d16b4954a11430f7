"""
The arbiter: statmorph itself, one galaxy after another, over processes and resumable.

Slow (about a second a stamp) and authoritative: what our loops give is compared with this. Rows are measured
in chunks; where a folder is given, a chunk is kept there under a name that is a digest of all that went into it, so an
interrupted measurement continues, and other images or settings never find a stale result.
"""

import os
import warnings
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import statmorph
from astropy.table import QTable, vstack
from statmorph.statmorph import _quantity_names as QUANTITIES

from astro_galtrans._files import CheckedFile, fingerprint, whole_file
from astro_galtrans._progress import tqdm

from .segmentation import central_label

__all__ = ["measure_reference"]

INVALID = -99.0  # what statmorph gives for what it cannot measure
CATASTROPHIC = 4
CHUNK = 16  # galaxies: some seconds of work, so that little is lost and processes end together
FAILURES = AssertionError, ValueError, IndexError, TypeError, ArithmeticError, RuntimeError, np.linalg.LinAlgError


def measure_reference(
    images, *, segmap, mask=None, variance=None, gain=None, psf=None, sky_rms=None, sersic=True,
    directory=None, processes=None, progress=True,
):  # fmt: skip
    """
    Measure stamps with statmorph (Rodriguez-Gomez et al. 2019), galaxy by galaxy, as a table of statmorph's quantities.

    Arguments are those of `.measure.measure_morphology`; ``segmap`` is needed, and one of variance, gain and sky noise
    (ValueError if not). NaN where statmorph gives -99; a galaxy on which it fails has NaN and flag 4.
    """
    if variance is None and gain is None and sky_rms is None:
        msg = "statmorph needs the noise of the pixels: give variance, gain or sky_rms"
        raise ValueError(msg)
    each = {"segmap": segmap, "mask": mask, "variance": variance}
    spread = {"gain": (gain, 0), "psf": (psf, 2), "sky_rms": (sky_rms, 0)}
    each |= {name: _per_galaxy(values, len(images), ndim) for name, (values, ndim) in spread.items()}
    starts = range(0, len(images), CHUNK)
    tasks = (_task(images, each, slice(start, start + CHUNK), sersic, directory) for start in starts)
    bar = tqdm(total=len(starts), desc="statmorph", unit="chunk", disable=None if progress else True)
    with bar:
        found = _run(tasks, min(processes or os.cpu_count(), len(starts)), bar)
    return vstack(found, metadata_conflicts="silent")[[*QUANTITIES, "flag", "flag_sersic"]]


def _per_galaxy(values, number, ndim):
    """Repeat what is given once for all galaxies, without copying it."""
    if values is None:
        return None
    values = np.asarray(values)
    return np.broadcast_to(values, (number, *values.shape)) if values.ndim == ndim else values


def _task(images, each, rows, sersic, directory):
    arrays = {"image": np.asarray(images[rows], dtype=np.float64)}
    arrays |= {name: np.asarray(values[rows]) for name, values in each.items() if values is not None}
    return arrays, sersic, directory


def _run(tasks, processes, bar):
    """Measure all chunks, of which no more than some are in memory, and return their tables in order."""
    if processes <= 1:
        return [_counted(_measure_chunk(*task), bar) for task in tasks]
    # Spawned: a process forked after torch or HDF5 started threads may hang.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting, found = deque(), []
        for task in tasks:
            waiting.append(pool.submit(_measure_chunk, *task))
            if len(waiting) > 2 * processes:
                found.append(_counted(waiting.popleft().result(), bar))
        return found + [_counted(future.result(), bar) for future in waiting]


def _counted(table, bar):
    bar.update()
    return table


def _measure_chunk(arrays, sersic, directory):
    path = None if directory is None else Path(directory) / f"{_digest(arrays, sersic)}.fits"
    if path is not None and path.exists():
        return QTable.read(path)
    columns = list(arrays)
    rows = [_measure_one(dict(zip(columns, row, strict=True)), sersic) for row in zip(*arrays.values(), strict=True)]
    table = QTable({name: [row[name] for row in rows] for name in rows[0]})
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as place, CheckedFile(place) as file:
            table.write(file, format="fits")
    return table


def _digest(arrays, sersic):
    parts = (part for item in sorted(arrays.items()) for part in item)
    return fingerprint(f"{statmorph.__version__} {sersic}", *parts)[:32]


def _measure_one(galaxy, sersic):
    """One galaxy's row; NaN and flag 4 where statmorph gives up with an exception."""
    row = dict.fromkeys(QUANTITIES, np.nan) | {"flag": CATASTROPHIC, "flag_sersic": CATASTROPHIC}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # statmorph says by warnings what its flags say too
        try:
            source = _Source(sersic, **_arguments(galaxy))
        except FAILURES:
            return row
    return row | source.row()


def _arguments(galaxy):
    segmap = galaxy["segmap"].astype(np.int32)
    label = int(central_label(segmap[None])[0])
    arguments = {"image": galaxy["image"], "segmap": segmap, "label": label}
    if "mask" in galaxy:
        arguments["mask"] = galaxy["mask"].astype(bool)
    if "psf" in galaxy:
        arguments["psf"] = galaxy["psf"].astype(np.float64)
    if "variance" in galaxy:
        return arguments | {"weightmap": np.sqrt(galaxy["variance"].astype(np.float64))}
    if "gain" in galaxy:
        return arguments | {"gain": float(galaxy["gain"])}
    return arguments | {"weightmap": np.full(galaxy["image"].shape, float(galaxy["sky_rms"]))}


class _Source(statmorph.SourceMorphology):
    """Statmorph's class, which leaves out the Sersic model or measures it last: a fit that fails costs nothing else."""

    def __init__(self, sersic, **arguments):
        self._sersic = sersic
        super().__init__(**arguments)

    def _calculate_morphology(self):
        for name in QUANTITIES:
            if not name.startswith("sersic_"):
                getattr(self, name)
        self._sersic = self._sersic and self._fits()

    def _fits(self):
        try:
            return self._sersic_model is not None
        except FAILURES:
            return False

    def row(self):
        """What was measured, as a dict."""
        names = [name for name in QUANTITIES if self._sersic or not name.startswith("sersic_")]
        values = {name: float(getattr(self, name)) for name in names}
        values = {name: np.nan if value == INVALID else value for name, value in values.items()}
        flag_sersic = int(self.flag_sersic) if self._sersic else CATASTROPHIC
        return values | {"flag": int(self.flag), "flag_sersic": flag_sersic}
