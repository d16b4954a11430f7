"""Bright stars, found in an image and drawn in its translation. The truth is drawn by GalSim."""

import time

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
    return find_points(source, images() if psf is None else psf, fwhm, NOISE, PIXEL, TARGET_FWHM, bad)


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
@pytest.mark.parametrize(("ratio", "apart", "kept"), [(0.03, 2.0, 0.9), (0.03, 3.0, 0.98), (0.3, 3.0, 0.98)])
def test_faint_companions_of_a_star_keep_their_light(rng, known, ratio, apart, kept):
    star, companion = (STAR, 200.0, (0.13, -0.21)), (STAR, 200.0 * ratio, (0.13 + 0.8 * apart, -0.21 + 0.6 * apart))
    source, target = scene([star, companion], rng)
    _, alone = scene([companion], rng)
    points = found_in(source, None if known == "image" else [None, None])
    assert points
    lost = target - drawn_anew(target, points)
    y, x = (SCALE * (SIDE / 2 + n / PIXEL) - 0.5 for n in companion[2][::-1])
    near = np.hypot(*(np.indices(target.shape[1:]) - np.array([y, x])[:, None, None])) < 0.5 / PIXEL * SCALE
    for plane, true in zip(lost, alone, strict=True):
        assert plane[near].sum() < (1 - kept) * true[near].sum()


def test_a_star_between_pixels_is_found_once():
    light = np.array([drawn(galsim.Convolve(200 * STAR, psf), SIDE, PIXEL) for psf in PSFS])  # of a corner of pixels
    assert SIDE % 2 == 0 and np.ptp(light[0, 39:41, 39:41]) == pytest.approx(0, abs=1e-12)
    light[:, 39:41, 39:41] = light[:, 39:40, 39:40]
    (point,) = found_in(light)
    np.testing.assert_allclose(np.array(point.corner) + point.place, SIDE / 2 - 0.5, atol=0.01)


def test_bright_light_everywhere_is_looked_at_quickly(rng):
    noise = np.array(NOISE)[:, None, None]
    sky = 200 * noise + noise * rng.normal(size=(2, 500, 500))  # as a galaxy that fills the image
    begin = time.process_time()
    assert found_in(sky) == []
    assert time.process_time() - begin < 3  # looking at each of its peaks takes 20 s


def test_thousands_of_cosmic_rays_are_no_stars_and_are_told_quickly(rng):
    source = np.array(NOISE)[:, None, None] * rng.normal(size=(2, 600, 600))
    y, x = rng.integers(0, 600, (2, 4000))
    source[rng.integers(0, 2, 4000), y, x] += rng.uniform(2, 50, 4000)
    begin = time.process_time()
    assert found_in(source) == []
    assert time.process_time() - begin < 3  # a search for the place of each takes 20 s


@pytest.mark.parametrize("known", ["image", "width"])
@pytest.mark.parametrize("profile", [
    galsim.Exponential(0.4), galsim.Exponential(0.9).shear(q=0.4, beta=0.3 * galsim.radians),
    galsim.DeVaucouleurs(0.8), galsim.Gaussian(half_light_radius=0.4),
    0.5 * galsim.Sum([STAR.shift(-0.5, 0), STAR.shift(0.5, 0)]),
])  # fmt: skip
def test_galaxies_and_close_pairs_of_stars_are_no_points(rng, profile, known):
    source, _ = scene([(profile, 300.0, (0.1, 0.0))], rng)
    assert found_in(source, None if known == "image" else [None, None]) == []


@pytest.mark.parametrize(("known", "share"), [("image", 0.5), ("image", 0.8), ("width", 0.5)])
@pytest.mark.parametrize("half_light", [0.7, 1.5, 3.0])
def test_quasars_with_a_galaxy_around_them_are_no_points(rng, known, share, half_light):
    quasar, host = (STAR, 200.0 * share, (0.1, 0.05)), galsim.Exponential(half_light_radius=half_light)
    source, _ = scene([quasar, (host, 200.0 * (1 - share), (0.1, 0.05))], rng)
    assert found_in(source, None if known == "image" else [None, None]) == []


@pytest.mark.parametrize("known", ["image", "width"])
@pytest.mark.parametrize("half_light", [1.5, 3.0])
def test_a_faint_galaxy_around_a_quasar_stays_where_the_target_shows_it(rng, known, half_light):
    quasar, host = (STAR, 180.0, (0.1, 0.05)), galsim.Exponential(half_light_radius=half_light)
    source, target = scene([quasar, (host, 20.0, (0.1, 0.05))], rng)
    result = drawn_anew(target, found_in(source, None if known == "image" else [None, None]))
    centre = (SCALE * (SIDE / 2 + n / PIXEL) - 0.5 for n in (0.05, 0.1))
    radius = np.hypot(*(np.indices(target.shape[1:]) - np.array(list(centre))[:, None, None])) * PIXEL / SCALE
    for first, last, kept in ((1.8, 2.5, 0.7), (2.5, 4.0, 0.93)):
        ring = (radius >= first) & (radius < last)
        assert (result[:, ring].sum(axis=1) > kept * target[:, ring].sum(axis=1)).all()


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


def test_samples_have_the_noise_of_the_target_where_a_star_ends(rng):
    source, target = scene([(STAR, 60.0, (0.0, 0.0))], rng)
    points = found_in(source)

    def noise(_, light):
        return rng.normal(0, 0.1, light.shape)

    results = [drawn_anew(target + noise(0, target), points, noise=noise) for _ in range(200)]
    std, radius = np.std(results, axis=0), np.hypot(*(np.indices(target.shape[1:]) - SCALE * SIDE / 2 + 0.5))
    for first in range(0, 30, 3):
        ring = (radius >= first) & (radius < first + 3)
        assert std[:, ring].mean() == pytest.approx(0.1, rel=0.1)  # the star's flux varies, too
    core = radius < 1.5 * 1.2 / PIXEL * SCALE
    fluxes = np.sum(results, axis=(2, 3), where=core)
    np.testing.assert_allclose(fluxes.std(axis=0), 0.1 * core.sum() ** 0.5, rtol=0.15)


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


def psf_image(side, shift=0.0):
    return drawn(galsim.Moffat(3.5, fwhm=1.2).shift(shift * PIXEL, shift * PIXEL), side, PIXEL)


@pytest.mark.parametrize("psf", [psf_image(50), psf_image(50, 0.5), psf_image(51, 0.4), psf_image(151)])
def test_an_image_of_the_psf_may_have_any_side_and_its_star_beside_the_middle(rng, psf):
    image, _ = field(rng)
    expected = translate(image, "srgan-sdss-cfhtls", psf=psf_image(51))["r"]
    result = translate(image, "srgan-sdss-cfhtls", psf=psf)["r"]
    assert result.meta["GTSTARS"] == expected.meta["GTSTARS"] == 9
    assert result.meta["GTFLUXES"] == expected.meta["GTFLUXES"]
    assert np.abs(result.data - expected.data).max() < 0.01 * expected.data.max()


def test_sky_left_in_an_image_of_the_psf_is_told_of(rng):
    image, _ = field(rng, "ri")
    with pytest.warns(match="PSF image of band r has 21 % of its light in a level"):
        translate(image, "srgan-sdss-cfhtls", psf={"r": psf_image(51) + 1e-4, "i": psf_image(51)})
