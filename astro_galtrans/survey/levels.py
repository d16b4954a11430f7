"""Levels of fidelity that are compared shard by shard: the table of a shard, and the result of those of all."""

from dataclasses import asdict
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from astropy.table import QTable, vstack

from astro_galtrans.fidelity.compare import compare
from astro_galtrans.fidelity.morphology import MorphologyFidelity, enters, morphology_fidelity
from astro_galtrans.fidelity.morphology import quantities_of as morphology_quantities
from astro_galtrans.fidelity.photometry import PhotometryFidelity, photometry_fidelity
from astro_galtrans.fidelity.photometry import quantities_of as photometry_quantities
from astro_galtrans.fidelity.pixel.measure import PixelFidelity, pixel_galaxies
from astro_galtrans.fidelity.pixel.sums import PixelSums
from astro_galtrans.statistics import Bootstrap

__all__ = ["ELSEWHERE", "LEVELS", "MOST"]

#: Galaxies whose values of one quantity are in memory at once; of more, so many are taken at random, which is as good
#: as all for medians whose errors are then a thousandth of the scatter.
MOST = 2**20
#: What cannot be had of shards: why, and what does it.
ELSEWHERE = {
    "anomaly": "anomalies need stamps of the source, which shards do not hold; one process looks for them, with "
    "galtrans anomalies SOURCE NAME=SHARDS --target TARGET",
    "redshift": "what is kept of redshifts is told by estimators that are trained on all galaxies; one process does "
    "it, with galtrans redshift PAIRS --translated NAME=STAMPS",
}  # fmt: skip
ENTERING = "flag", "flag_sersic", "sn_per_pixel"  # columns that say which galaxies enter statistics of morphology
BARE = {"bins": 1, "bootstrap": Bootstrap(resamples=0), "progress": False}  # statistics of a shard are not needed


class Pixels:
    """Pixels: the sums of a galaxy are in the table of its shard, and are added up over all galaxies."""

    def galaxies(self, target, translated, ends):
        """Return the table of a shard."""
        return pixel_galaxies(target, translated, ends)

    def result(self, tables, models, target, ends, bootstrap, about):
        """Return the result of all shards; ``target`` are some of the real stamps."""
        sums = PixelSums(target, ends, bootstrap)
        for model in models:
            for part in tables.parts(("sums", "power"), model, every=True):
                sums.add(model, part["sums"], part["power"])
        return PixelFidelity(sums.tables(), about | sums.about | asdict(bootstrap))


class Paired(NamedTuple):
    """Quantities that are measured in both images of a galaxy."""

    compared: object  #: function of `astro_galtrans.fidelity` that compares the galaxies of a shard
    kind: type  #: class of its result
    quantities_of: object  #: function that says which columns are compared, and by ratio or difference

    def galaxies(self, target, translated, _ends):
        """Return the table of a shard; colours are in rows of their own."""
        result = self.compared(target, translated, **BARE)
        found = [result[name] for name in ("galaxies", "colours") if name in result.tables]
        return vstack(found, metadata_conflicts="silent")

    def result(self, tables, models, _target, _ends, bootstrap, about):
        """Return the result of all shards."""
        of_real, pairs = self.quantities_of(tables.quantities)
        colours, parts = tables.of_bands([" - ".join(two) for two in pairwise(tables.bands)]), []
        for quantity, pair in pairs.items():
            here = colours if quantity == "colour" else tables
            for model in models:
                columns = _both_images(here, quantity, of_real.get(quantity, f"{quantity}_target"), model)
                for c, band in enumerate(here.bands):
                    real, ours = (_table(column[:, c], band, quantity, here.quantities[quantity]) for column in columns)
                    found = compare(real, {model: ours}, {quantity: pair}, bootstrap=bootstrap, progress=False)
                    parts.append(found["statistics"])
        return self.kind({"statistics": vstack(parts)}, about | asdict(bootstrap))


def _both_images(tables, quantity, of_real, model):
    """A quantity in real and in translated images, ``[N, C]`` each; NaN where a galaxy does not enter."""
    others = [name for name in ENTERING if name in tables.columns]

    def of(part):
        columns = [np.array(part[name], dtype=float) for name in (of_real, quantity)]
        for column, end in zip(columns, ("_target", ""), strict=True):
            if others:
                column[~enters({name: part[f"{name}{end}"] for name in others}, quantity)] = np.nan
        return [0 * columns[0], columns[1]] if quantity == "shift" else columns  # a real image has no shift

    return tables.values([of_real, quantity, *others, *(f"{name}_target" for name in others)], model, of)


def _table(values, band, quantity, unit):
    columns = {"row": np.arange(len(values)), "band": np.full(len(values), band), quantity: values}
    return QTable(columns, units={quantity: unit} if unit else None)


LEVELS = {
    "pixel": Pixels(),
    "photometry": Paired(photometry_fidelity, PhotometryFidelity, photometry_quantities),
    "morphology": Paired(morphology_fidelity, MorphologyFidelity, morphology_quantities),
}  #: by name
