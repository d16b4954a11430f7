"""Flux units and AB zero points, against astropy's definition of AB magnitudes."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from numpy.testing import assert_allclose

from astro_galtrans.units import (
    NANOMAGGY_ZEROPOINT,
    ZEROPOINT_CARDS,
    find_zeropoint,
    flux_factor,
    flux_zeropoint,
    parse_unit,
)
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
    header = fits.Header([("OBJECT", "W3"), (f"HIERARCH {card.key}", 30.0), ("EXPTIME", "100.0")])
    assert flux_zeropoint("adu", header) == (35.0 if card.per_second else 30.0)
    assert flux_zeropoint("adu / s", header) == 30.0


@pytest.mark.parametrize("card", ["MAGZPT", "PHOT_C", "FPA.ZP"])
def test_zeropoint_per_second_needs_the_exposure_time(card):
    for cards in ({}, {"EXPTIME": 0.0}, {"EXPTIME": ""}):
        with pytest.raises(ValueError, match=rf"{card} is for one adu per second, and the exposure time is not known"):
            flux_zeropoint("adu", {card: 25.0, **cards})
    with pytest.raises(ValueError, match="EXPTIME must hold a number, got True"):
        flux_zeropoint("adu", {card: 25.0, "EXPTIME": True})
    source = find_zeropoint("adu", {card: 25.0, "EXPOSURE": 10}).source
    assert source == f"{card} (AB, per second; EXPOSURE = 10 s)"


def test_comments_tell_of_the_time_base_and_the_system():
    header = fits.Header([("MAGZERO", 25.0, "[mag] of 1 ADU per second"), ("EXPTIME", 10.0), ("ZP", 27.5)])
    assert_allclose(flux_zeropoint("adu", header), 27.5)
    with pytest.raises(ValueError, match="MAGZERO is not in the AB system"):
        flux_zeropoint("adu", fits.Header([("MAGZERO", 25.0, "Vega zero point")]))


@pytest.mark.parametrize(
    "cards",
    [
        {"PHOTZP": 25.0, "PHOTSYS": "VEGA"},
        {"MAGZERO": 25.0, "PHOTSYS": "VEGAMAG"},
        {"FLUXMAG0": 1e10, "MAGSYS": "Vega"},
        {"ZP": 25.0, "PHOTSYS": "STMAG"},
        {"MAGZPT": 23.0, "MAGZRR": 0.02, "EXPTIME": 10.0},  # CASU
    ],
)
def test_zeropoints_that_are_not_ab(cards):
    with pytest.raises(ValueError, match=r"is not in the AB system .*; pass zeropoint= in AB magnitudes"):
        flux_zeropoint("adu", cards)
    assert flux_zeropoint("adu", cards, 24.0) == 24.0
    ab = {**cards, "PHOTSYS": "AB", "MAGSYS": "AB"}
    assert np.isfinite(flux_zeropoint("adu", ab))


def test_elixir_takes_the_airmass():
    cards = {"PHOT_C": 26.46, "PHOT_K": -0.15, "AIRMASS": 1.4, "EXPTIME": 100}
    assert_allclose(flux_zeropoint("adu", cards), 26.46 - 0.15 * 0.4 + 5)
    assert flux_zeropoint("adu", {**cards, "MZP_AB": 30.0}) == 30.0  # a stack carries the cards of its first exposure


def test_hubble():
    cards = {"PHOTFLAM": 7.0376e-20, "PHOTPLAM": 8045.5, "EXPTIME": 1000.0}
    truth = -2.5 * np.log10((7.0376e-20 * u.Unit("erg / (s cm2 AA)")).to_value(u.Jy, u.spectral_density(8045.5 * u.AA)))
    assert_allclose(flux_zeropoint("electron / s", cards), truth + 8.90, atol=1e-10)
    assert_allclose(flux_zeropoint("electron", cards), truth + 8.90 + 7.5, atol=1e-10)


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


@pytest.mark.parametrize("value", [np.nan, np.inf, "thirty", True])
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
        ("mag / arcsec2", "magnitudes"),
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
