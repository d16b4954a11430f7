"""Colours of simulated galaxies against those of real ones of the same magnitude and redshift."""

from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("galsim")
pytest.importorskip("speclite")

from astropy.table import Table

from astro_galtrans.pairs.simulated import population
from astro_galtrans.pairs.simulated.colours import star_colours
from astro_galtrans.surveys import get_survey
from helpers import shared_data


def main_sample():
    """SDSS main galaxies (r < 17.8): redshifts, and AB magnitudes by the offsets of SDSS's u and z of its DR7 paper."""
    catalogue = np.loadtxt(shared_data("catalogues", "sdss_mgs_ugriz_zspec.txt"))
    return np.clip(catalogue[:, 0], 0.003, None), catalogue[:, 1:6] + [-0.04, 0, 0, 0, 0.02]


def vvds(*, stars=False):
    """
    CFHTLS Deep magnitudes of VVDS (i < 22.5) with secure redshifts: redshifts and AB magnitudes.

    The catalogue's g is 0.05 mag too bright for AB: its stars are bluer by that in g - r, and redder in u - g, than
    Pickles' through the same filters, and so are its galaxies of all redshifts.
    """
    table = Table.read(shared_data("catalogues", "vvds_deep_cfhtls_ugriz_zspec.csv"), format="ascii.csv")
    magnitudes = np.array([table[f"MAG_AUTO_{band}"] for band in "UGRIZ"], float).T
    z, flags = np.array(table["ds_spectra.Z"], float), np.array(table["ds_spectra.ZFLAGS"]) % 10
    good = ((magnitudes > 0) & (magnitudes < 40)).all(axis=1) & (magnitudes[:, 3] < 22.5) & np.isin(flags, [2, 3, 4, 9])
    good &= (np.abs(z) < 0.002) if stars else (z > 0.01) & (z < 1.2)
    return z[good], magnitudes[good] + [0, 0.05, 0, 0, 0]


def test_stars_of_cfhtls():
    """Stars of VVDS lie on the locus of Pickles' dwarfs, each compared with that of the same r - z."""
    colours = -np.diff(vvds(stars=True)[1])
    locus = -np.diff(star_colours("cfhtls-deep", np.geomspace(2951, 7500, 300), 0.5, 0.03))
    red = np.add.outer(colours[:, 2:].sum(axis=1), -locus[:, 2:].sum(axis=1))
    difference = colours - locus[np.abs(red).argmin(axis=1)]
    np.testing.assert_allclose(np.median(difference, axis=0)[:3], 0, atol=0.05)


def simulated(monkeypatch, survey, z, r):
    """Magnitudes of simulated galaxies of given redshifts and r magnitudes."""
    rng, found = np.random.default_rng(1), []
    for redshift, magnitude in zip(z, r, strict=True):
        monkeypatch.setattr(population, "_redshift", lambda *_, redshift=redshift: redshift)
        scene = population.Scene("galaxy")
        found.append(population._add_galaxy(scene, rng, (get_survey(survey),), magnitude, 0, 0)["magnitudes"])
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("survey", "read", "edges", "draws"),
    [
        ("sdss", main_sample, (14, 16, 17, 17.4, 17.8), 3),
        ("cfhtls-deep", vvds, (18, 20.5, 21.25, 21.75, 22.25, 23), 5),
    ],
)
def test_medians_follow_the_magnitude(monkeypatch, survey, read, edges, draws):
    """u - g, g - r, r - i and i - z in bins of r: medians within 0.05 mag, scatters alike."""
    z, real = read()
    model = simulated(monkeypatch, survey, np.tile(z, draws), np.tile(real[:, 2], draws))
    for low, high in pairwise(edges):
        inside = (real[:, 2] >= low) & (real[:, 2] < high)
        theirs, ours = -np.diff(real[inside]), -np.diff(model[np.tile(inside, draws)])
        np.testing.assert_allclose(np.median(ours, axis=0), np.median(theirs, axis=0), atol=0.05)
        spread = [np.diff(np.percentile(colours, [16, 84], axis=0), axis=0)[0] / 2 for colours in (ours, theirs)]
        assert (spread[0] > 0.6 * spread[1]).all() and (spread[0] < 1.6 * spread[1]).all()
