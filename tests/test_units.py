"""Flux units and AB zero points, against astropy's definition of AB magnitudes."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from numpy.testing import assert_allclose

from astro_galtrans.units import NANOMAGGY_ZEROPOINT, ZEROPOINT_CARDS, flux_factor, flux_zeropoint, parse_unit
from helpers import shared_data


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("nanomaggy", u.nmgy),
        ("nanomaggies", u.nmgy),
        ("nmgy", u.nmgy),
        ("nMgy", u.nmgy),
        ("maggy", u.mgy),
        ("maggies", u.mgy),
        ("Jy", u.Jy),
        ("uJy", u.uJy),
        ("nJy", u.nJy),
        ("microJy", u.uJy),
        ("mJy", u.mJy),
        ("MJy", u.MJy),
        ("ADU", u.adu),
        ("adu", u.adu),
        ("DN", u.DN),
        ("counts", u.ct),
        ("count", u.ct),
        ("electron", u.electron),
        ("ELECTRONS", u.electron),
        ("e-", u.electron),
        ("e-/s", u.electron / u.s),
        ("ELECTRONS/S", u.electron / u.s),
        ("electron s-1", u.electron / u.s),
        ("counts/sec", u.ct / u.s),
        ("'ADU     '", u.adu),
        (u.nJy, u.nJy),
        ("erg/s/cm2/Hz", u.erg / u.s / u.cm**2 / u.Hz),
    ],
)
def test_spellings(text, unit):
    assert parse_unit(text) == unit


def test_not_a_unit():
    with pytest.raises(ValueError, match=r"'galaxies' is not a known unit; pass unit="):
        parse_unit("galaxies")


@pytest.mark.parametrize("unit", ["Jy", "mJy", "uJy", "nJy", "erg / (s cm2 Hz)", "W / (m2 Hz)", "Jy / pix"])
def test_flux_densities_as_astropy_has_them(unit):
    truth = (1 * u.Unit(unit.removesuffix(" / pix"))).to_value(u.ABmag)
    assert_allclose(flux_zeropoint(unit), truth, atol=1e-12)


def test_maggies():
    # one maggy is the flux of magnitude zero
    assert flux_zeropoint("nanomaggy") == NANOMAGGY_ZEROPOINT
    assert flux_zeropoint(u.mgy) == 0
    assert flux_zeropoint(u.nmgy, zeropoint=22.5) == NANOMAGGY_ZEROPOINT
    in_jansky = 1e-9 * (1 * u.ABflux).to_value(u.Jy)
    assert_allclose(flux_factor(flux_zeropoint("nmgy"), flux_zeropoint("Jy")), in_jansky, rtol=1e-12)


@pytest.mark.parametrize("unit", ["adu", "DN", "counts", "electron", "photon", "electron / s", "adu/s"])
def test_counts_take_the_argument_before_the_header(unit):
    assert flux_zeropoint(unit, {"MAGZERO": 27.0}, 25.5) == 25.5
    assert flux_zeropoint(unit, {"magzero": "27.0"}) == 27.0


@pytest.mark.parametrize("card", ZEROPOINT_CARDS)
def test_zeropoint_cards(card):
    header = fits.Header([("OBJECT", "W3"), (card if len(card) <= 8 else f"HIERARCH {card}", 30.0)])
    assert flux_zeropoint("adu", header) == 30.0


def test_counts_of_magnitude_zero():
    counts = 63095734448.0194  # HSC: 27.0 mag
    assert_allclose(flux_zeropoint("adu", {"FLUXMAG0": counts}), 27.0, atol=1e-12)
    assert flux_zeropoint("adu", {"FLUXMAG0": counts, "MAGZERO": 27.0}) == 27.0


def test_cards_that_disagree():
    with pytest.raises(ValueError, match=r"disagree \(MAGZERO = 25, ZP = 27\): pass zeropoint="):
        flux_zeropoint("adu", {"MAGZERO": 25.0, "ZP": 27.0})
    assert flux_zeropoint("adu", {"MAGZERO": 25.0, "ZP": 27.0}, 26) == 26


@pytest.mark.parametrize("meta", [None, {}, {"MAGZERO": ""}, {"MAGZERO": None}, fits.Header([("ZP", None)])])
def test_counts_without_zeropoint(meta):
    with pytest.raises(ValueError, match=r"no zero point for adu: pass zeropoint="):
        flux_zeropoint("adu", meta)


@pytest.mark.parametrize("value", [np.nan, np.inf, "thirty"])
def test_zeropoint_that_is_none(value):
    with pytest.raises(ValueError, match="finite AB magnitude"):
        flux_zeropoint("adu", zeropoint=value)
    with pytest.raises(ValueError, match="MAGZERO must be a finite"):
        flux_zeropoint("adu", {"MAGZERO": value})


def test_counts_of_magnitude_zero_must_be_positive():
    with pytest.raises(ValueError, match="FLUXMAG0 must be positive"):
        flux_zeropoint("adu", {"FLUXMAG0": -1.0})


def test_zeropoint_that_contradicts_the_unit():
    with pytest.raises(ValueError, match=r"zeropoint=25.0 contradicts the unit nmgy, which has 22.500"):
        flux_zeropoint("nanomaggy", zeropoint=25)


@pytest.mark.parametrize(
    ("unit", "why"),
    [
        ("MJy/sr", "surface brightness"),
        ("nmgy / arcsec2", "surface brightness"),
        ("mag", "magnitudes"),
        ("mag(AB)", "magnitudes"),
        ("m", "expected nanomaggies"),
        ("", "dimensionless"),
        ("erg / (s cm2 AA)", "expected nanomaggies"),
    ],
)
def test_not_a_flux_per_pixel(unit, why):
    with pytest.raises(ValueError, match=f"not a flux per pixel.*{why}|{why}.*not a flux per pixel"):
        flux_zeropoint(unit)


def test_factor_keeps_magnitudes(rng):
    flux, zeropoints = rng.uniform(1, 1000, 50), rng.uniform(0, 35, (50, 2))
    for f, (before, after) in zip(flux, zeropoints, strict=True):
        converted = f * flux_factor(before, after)
        assert_allclose(after - 2.5 * np.log10(converted), before - 2.5 * np.log10(f), atol=1e-10)


def test_real_header():
    header = fits.getheader(shared_data("cfhtls_w3", "CFHTLS-test_r.fits"))
    assert flux_zeropoint("adu", header) == 30.0
