"""Bright stars, found in an image and drawn in its translation. The truth is drawn by GalSim."""

import numpy as np
import pytest
from astropy.nddata import CCDData

from astro_galtrans import load_translator, translate
from astro_galtrans.moments import gaussian_fwhm
from astro_galtrans.points import find_points, redraw
from helpers import make_wcs

galsim = pytest.importorskip("galsim")

PIXEL, SCALE, SIDE = 0.396, 2, 80
NOISE = [0.018, 0.027]
FWHM, TARGET_FWHM = [1.2, 1.1], [0.82, 0.77]
PSFS = [galsim.Moffat(3.0, fwhm=fwhm) for fwhm in FWHM]
TARGET_PSFS = [galsim.Moffat(3.5, fwhm=fwhm) for fwhm in TARGET_FWHM]
STAR = galsim.DeltaFunction()


def drawn(profile, n, pixel):
    return profile.drawImage(nx=n, ny=n, scale=pixel).array.astype(float)


def images(psf=PSFS):
    return [drawn(one, 41, PIXEL) for one in psf]


def scene(sources, rng, psf=PSFS):
    """Image and noise-free target of sources of a profile, a flux in all bands, and a place (arcsec)."""
    both = []
    for psfs, side, pixel in ((psf, SIDE, PIXEL), (TARGET_PSFS, SCALE * SIDE, PIXEL / SCALE)):
        light = galsim.Sum([flux * profile.shift(*place) for profile, flux, place in sources])
        both.append(np.array([drawn(galsim.Convolve(light, one), side, pixel) for one in psfs]))
    source, target = both
    return source + np.array(NOISE)[:, None, None] * rng.normal(size=source.shape), target


def found_in(source, psf=None, fwhm=FWHM, bad=None):
    return find_points(source, images() if psf is None else psf, fwhm, NOISE, PIXEL, bad)


def with_rings(target, place):
    """Translation of a star as networks give it: a rim, and a dark ring, in each band at another radius."""
    result = target.copy()
    for k, plane in enumerate(result):
        y, x = (np.arange(n) - (n - 1) / 2 - p / PIXEL * SCALE for n, p in zip(plane.shape, place[::-1], strict=True))
        radius = np.hypot(y[:, None], x)
        plane *= 1 + 0.5 * np.exp(-0.5 * (radius - 3 - k) ** 2) - 0.4 * np.exp(-0.5 * (radius - 6 - k) ** 2)
    return result


def drawn_anew(flux, points, **options):
    result = flux.copy()
    redraw(result, points, SCALE, [0, 1], FWHM, TARGET_FWHM, PIXEL / SCALE, **options)
    return result


@pytest.mark.parametrize("known", ["image", "width"])
def test_a_star_comes_out_as_the_target_s_psf(rng, known):
    place = (0.13, -0.21)
    source, target = scene([(STAR, 200.0, place)], rng)
    flux = with_rings(target, place)
    (point,) = found_in(source, None if known == "image" else [None, None])
    result = drawn_anew(flux, [point])
    core = np.hypot(*(np.indices(target.shape[1:]) - SCALE * SIDE / 2)) < 8
    for got, true, network in zip(result, target, flux, strict=True):
        scaled = got * true[core].sum() / got[core].sum()  # the flux is the network's
        assert np.abs(scaled - true)[core].max() < 0.005 * true.max()
        assert np.abs(network - true)[core].max() > 0.05 * true.max()
        wide = np.hypot(*(np.indices(got.shape) - SCALE * SIDE / 2)) < 1.5 * 1.2 / PIXEL * SCALE
        assert got[wide].sum() == pytest.approx(network[wide].sum(), rel=0.01)


def test_a_right_translation_stays_as_it_is(rng):
    source, target = scene([(STAR, 200.0, (0.0, 0.1)), (galsim.Exponential(1.0), 60.0, (3.0, -2.0))], rng)
    points = found_in(source)
    assert len(points) == 1
    for got, true in zip(drawn_anew(target, points), target, strict=True):
        assert np.abs(got - true).max() < 0.015 * true.max()  # the galaxy's light in the star's aperture


def test_neighbours_of_a_star_stay_the_network_s(rng):
    galaxy = (galsim.Exponential(0.8).shear(q=0.5, beta=1 * galsim.radians), 150.0, (4.0, 0.0))
    source, target = scene([(STAR, 200.0, (0.0, 0.0)), galaxy], rng)
    _, alone = scene([galaxy], rng)
    flux = target + 0.2 * alone  # the network has another flux for it
    result = drawn_anew(flux, found_in(source))
    near = np.s_[:, SCALE * SIDE // 2 - 3 : SCALE * SIDE // 2 + 3, SCALE * SIDE // 2 + 17 : SCALE * SIDE // 2 + 24]
    np.testing.assert_allclose(result[near], flux[near], rtol=0.02)


@pytest.mark.parametrize("known", ["image", "width"])
@pytest.mark.parametrize("profile", [
    galsim.Exponential(0.4), galsim.Exponential(0.9).shear(q=0.4, beta=0.3 * galsim.radians),
    galsim.DeVaucouleurs(0.8), galsim.Gaussian(half_light_radius=0.4),
    0.5 * galsim.Sum([STAR.shift(-0.5, 0), STAR.shift(0.5, 0)]),
])  # fmt: skip
def test_galaxies_and_close_pairs_of_stars_are_no_points(rng, profile, known):
    source, _ = scene([(profile, 300.0, (0.1, 0.0))], rng)
    assert found_in(source, None if known == "image" else [None, None]) == []


def test_faint_masked_and_misplaced_stars_are_left(rng):
    faint, _ = scene([(STAR, 5.0, (0.0, 0.0))], rng)
    assert found_in(faint) == []
    source, _ = scene([(STAR, 200.0, (0.0, 0.0))], rng)
    bad = np.zeros(source.shape, bool)
    bad[:, SIDE // 2, SIDE // 2] = True
    assert found_in(source, bad=bad) == []
    bad[0] = False  # saturated in one band
    (point,) = found_in(source, bad=bad)
    assert point.share[0].max() > 0.99
    assert point.share[1].max() == 0
    source[1] = np.roll(source[1], 2, axis=1)
    assert found_in(source) == []


def test_stars_at_the_edge(rng):
    half = SIDE * PIXEL / 2
    source, target = scene([(STAR, 200.0, (half - 2.6, 0.0)), (STAR, 200.0, (0.0, -half + 0.3))], rng)
    points = found_in(source)  # of the second not all of the core is there
    assert len(points) == 1
    result = drawn_anew(with_rings(target, (half - 2.6, 0.0)), points)[:, 60:100]
    target = target[:, 60:100]
    for got, true in zip(result, target, strict=True):
        assert np.abs(got * true.max() / got.max() - true).max() < 0.01 * true.max()


def test_samples_keep_the_noise_of_the_target(rng):
    source, target = scene([(STAR, 200.0, (0.0, 0.0))], rng)
    points = found_in(source)
    noisy = drawn_anew(target, points, noise=lambda _, light: rng.normal(0, 0.1, light.shape))
    change = (noisy - drawn_anew(target, points))[:, 72:88, 72:88]
    assert change.std() == pytest.approx(0.1, rel=0.15)


# --- translations ---


def field(rng, bands="ugriz", psf=1.2):
    """Image of 9 stars off the pixels' centres, so bright that networks have seen few of them."""
    noise, psf = dict(zip("ugriz", (0.055, 0.018, 0.027, 0.044, 0.22), strict=True)), galsim.Moffat(3.5, fwhm=psf)
    planes = {}
    places = [(x + dx, y - dx) for dx, x in zip((-0.1, 0, 0.15), (-12, 0, 12), strict=True) for y in (-12, 0, 12)]
    light = galsim.Convolve(galsim.Sum([400 * STAR.shift(*place) for place in places]), psf)
    for band in bands:
        plane = drawn(light, 100, PIXEL)
        planes[band] = CCDData(
            plane + rng.normal(0, noise[band], plane.shape), unit="nmgy", wcs=make_wcs((100, 100), PIXEL)
        )
    return planes, [(2 * (x / PIXEL + 49.5) + 0.5, 2 * (y / PIXEL + 49.5) + 0.5) for x, y in places]


def widths(result, places):
    corners = [(round(y) - 12, round(x) - 12) for x, y in places]
    return np.array([gaussian_fwhm(np.asarray(result.data[y : y + 25, x : x + 25], float)) for y, x in corners])


@pytest.mark.parametrize("name", ["srgan-sdss-cfhtls", "capsule-sdss-cfhtls", "swin-sdss-cfhtls"])
def test_stars_of_translations_have_the_target_s_width(rng, name):
    image, places = field(rng)
    result = translate(image, name, psf=1.29)
    for band, fwhm in zip("ugriz", load_translator(name).target["fwhm"], strict=True):
        assert result[band].meta["GTSTARS"] == 9
        true = gaussian_fwhm(drawn(galsim.Moffat(3.5, fwhm=fwhm), 25, PIXEL / 2))
        np.testing.assert_allclose(widths(result[band], places), true, rtol=0.01)


def test_bands_that_are_missing_have_no_stars(rng):
    image, places = field(rng, "ri")
    result = translate(image, "srgan-sdss-cfhtls", psf=1.29)
    true = gaussian_fwhm(
        drawn(galsim.Moffat(3.5, fwhm=load_translator("srgan-sdss-cfhtls").target["fwhm"][3]), 25, PIXEL / 2)
    )
    np.testing.assert_allclose(widths(result["i"], places), true, rtol=0.01)
    assert result["i"].meta["GTSTARS"] == 9


def test_neither_a_guessed_psf_nor_a_target_without_neighbours_tells_stars(rng):
    image, _ = field(rng)
    alone = {
        band: CCDData(one.data[40:60, 40:60], unit="nmgy", wcs=one.wcs[40:60, 40:60]) for band, one in image.items()
    }
    with pytest.warns(match="typical of the survey"):
        assert "GTSTARS" not in translate(alone, "srgan-sdss-cfhtls")["r"].meta
    assert "GTSTARS" not in translate(image, "srgan-deblend-sdss", psf=1.29)["r"].meta


def test_samples_have_the_star_of_their_image_and_noise_of_their_own(rng):
    image, places = field(rng)
    samples = [
        one["r"].data
        for one in translate(image, "photometric-sdss-cfhtls", psf=1.29, n_samples=2, combine=None, seed=1)
    ]
    again = translate(image, "photometric-sdss-cfhtls", psf=1.29, n_samples=2, combine=None, seed=1)
    np.testing.assert_array_equal(again[1]["r"].data, samples[1])
    x, y = (round(v) for v in places[4])
    core = np.s_[y - 2 : y + 3, x - 2 : x + 3]
    rest = samples[0][core] / samples[0][core].sum() - samples[1][core] / samples[1][core].sum()
    assert 0 < np.abs(rest).max() < 0.02
