"""Rendering against GalSim's own drawing, and against the depth and noise of the surveys."""

import numpy as np
import pytest

galsim = pytest.importorskip("galsim")
pytest.importorskip("speclite")

from astropy.io import fits  # noqa: E402
from astropy.stats import mad_std, sigma_clipped_stats  # noqa: E402

from astro_galtrans.pairs.simulated.population import Profile, Scene  # noqa: E402
from astro_galtrans.pairs.simulated.render import Seeing, draw_seeing, render_pair  # noqa: E402
from astro_galtrans.surveys import Band, Survey, get_survey  # noqa: E402
from helpers import shared_data  # noqa: E402

SURVEYS = "sdss", "cfhtls-wide"
SEEING = Seeing(3.2, (1.5, 1.4, 1.3, 1.2, 1.2), 0.02, 0.01), Seeing(3.5, (0.88, 0.82, 0.77, 0.7, 0.7))


@pytest.fixture
def scene():
    """A disc and a bulge off the centre, and a star, all of magnitude 20."""
    magnitudes = np.full(10, 20.0)
    profiles = [Profile(1.0, 1.2, 0.2, 0.1, 0.5, -0.3, magnitudes), Profile(4.0, 0.8, 0.0, 0.1, 0.5, -0.3, magnitudes)]
    return Scene("galaxy", profiles, [(3.0, 2.0, magnitudes)])


def reference(seeing, pixel, size, zeropoint):
    disc = galsim.Sersic(1, half_light_radius=1.2).shear(g1=0.2, g2=0.1).shift(0.5, -0.3)
    bulge = galsim.Sersic(4, half_light_radius=0.8).shear(g1=0.0, g2=0.1).shift(0.5, -0.3)
    star = galsim.DeltaFunction().shift(3.0, 2.0)
    psf = galsim.Moffat(seeing.beta, fwhm=seeing.fwhm[2]).shear(g1=seeing.g1, g2=seeing.g2)
    sky = galsim.Convolve(disc + bulge + star, psf) * 10 ** (-0.4 * (20 - zeropoint))
    return sky.drawImage(nx=size, ny=size, scale=pixel).array


def test_both_surveys_as_galsim_draws_them(scene):
    source, target, clean = render_pair(scene, None, SURVEYS, SEEING, 64, 2, noise=False)
    for image, seeing, pixel, zeropoint in ((source, SEEING[0], 0.396, 22.5), (target, SEEING[1], 0.198, 30.0)):
        expected = reference(seeing, pixel, image.shape[-1], zeropoint)
        assert np.abs(image[2] - expected).max() < 5e-4 * expected.max()
        assert image[2].sum() == pytest.approx(expected.sum(), rel=5e-4)
    np.testing.assert_array_equal(target, clean)


def test_images_of_a_psf_with_wings_as_galsim_draws_them():
    seeing = Seeing(3.0, (1.3, 1.1), wings=0.18, wing_width=2.8)
    radius = np.hypot(*(np.indices((61, 61)) - 30)) * 0.396
    for fwhm, image in zip(seeing.fwhm, seeing.psf_images(0.396, 61), strict=True):
        psf = 0.82 * galsim.Moffat(3.0, fwhm=fwhm) + 0.18 * galsim.Moffat(2.5, fwhm=2.8 * fwhm)
        expected = psf.drawImage(nx=61, ny=61, scale=0.396).array
        expected /= expected.sum()
        # what source pixels do not resolve is left out
        np.testing.assert_allclose(image, expected, atol=5e-3 * expected.max())
        for limit in (0.7, 1.5, 3, 6):
            assert image[radius < limit].sum() == pytest.approx(expected[radius < limit].sum(), rel=2e-3)


def test_target_on_coarse_pixels(scene):
    seeing = Seeing(2.8, (0.9,) * 5), Seeing(3.5, (0.8,) * 5)
    source, target, _ = render_pair(scene, None, ("sdss", "sdss"), seeing, 48, 1, noise=False)
    for image, seen in zip((source, target), seeing, strict=True):
        expected = reference(seen, 0.396, 48, 22.5)
        assert np.abs(image[2] - expected).max() < 2e-3 * expected.max()


FINE = Survey("wfc3-uvis", "fine pixels", 0.04, "nJy", 31.4, (Band("F606W", 0.07, 1.0),))


@pytest.mark.parametrize(
    ("ends", "scale", "size"),
    [
        (("sdss", "euclid-vis"), 4, 32),  # PSFs of 1 and 0.16 arcsec
        (("euclid-vis", FINE), 2, 64),  # pixels of 0.04 arcsec
        ((FINE, "sdss"), 1, 96),  # from 0.07 to 1 arcsec
        (("cfhtls-wide", "sdss"), 1, 48),
        (("euclid-nisp", "hst-wfc3-candels"), 4, 32),
    ],
)
def test_any_pair_as_galsim_draws_it(ends, scale, size):
    surveys = [get_survey(end).select([get_survey(end).band_names[0]]) for end in ends]
    magnitudes = np.full(2, 20.0)
    profiles = [Profile(1.0, 0.3, 0.2, 0.1, 0.3, -0.2, magnitudes), Profile(4.0, 0.2, 0.0, 0.1, 0.3, -0.2, magnitudes)]
    scene = Scene("galaxy", profiles, [(0.7, 0.8, magnitudes)])
    seeings = [Seeing(3.2, (survey.bands[0].fwhm,), 0.02, 0.01) for survey in surveys]
    images = render_pair(scene, None, surveys, seeings, size, scale, noise=False)[:2]
    pixels = surveys[0].pixel_scale, surveys[0].pixel_scale / scale
    for image, survey, seeing, pixel in zip(images, surveys, seeings, pixels, strict=True):
        psf = galsim.Moffat(3.2, fwhm=seeing.fwhm[0]).shear(g1=0.02, g2=0.01)
        disc = galsim.Sersic(1, half_light_radius=0.3).shear(g1=0.2, g2=0.1).shift(0.3, -0.2)
        bulge = galsim.Sersic(4, half_light_radius=0.2).shear(g1=0.0, g2=0.1).shift(0.3, -0.2)
        sky = galsim.Convolve(disc + bulge + galsim.DeltaFunction().shift(0.7, 0.8), psf)
        expected = (sky * 10 ** (-0.4 * (20 - survey.zeropoint))).drawImage(
            nx=image.shape[-1], ny=image.shape[-1], scale=pixel
        )
        assert image.shape[0] == 1
        assert np.abs(image[0] - expected.array).max() < 1e-3 * expected.array.max()
        assert image.sum() == pytest.approx(expected.array.sum(), rel=2e-3)


def test_unknown_electrons_mean_no_photon_noise(rng):
    star = Scene("star", points=[(0.02, 0.02, np.full(2, 15.0))])
    seeings = [Seeing(3.5, (0.07,))] * 2
    clean = render_pair(star, None, (FINE, FINE), seeings, 32, 1, noise=False)[0]
    noisy = render_pair(star, rng, (FINE, FINE), seeings, 32, 1)[0]
    assert (noisy - clean).std() == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize("name", ["hsc-wide", "lsst-10yr"])
def test_depth_in_simulated_images(name, rng):
    """A star of the published depth is five sigma in simulated noise, weighted with the PSF as it is drawn."""
    survey = get_survey(name)
    magnitudes = np.array([band.depth for band in survey.bands])
    at = survey.pixel_scale / 2
    star = Scene("star", points=[(at, at, np.concatenate([magnitudes, magnitudes]))])
    seeings = [draw_seeing(rng, survey, 0)] * 2
    flux = render_pair(star, None, (survey, survey), seeings, 64, 1, noise=False)[0].astype(float)
    signal_to_noise = np.sqrt((flux**2).sum(axis=(1, 2))) / survey.sky_rms()
    np.testing.assert_allclose(signal_to_noise, 5, rtol=0.05)  # the pixel makes the PSF a little wider


@pytest.mark.parametrize("scale", [1, 3, 4])
def test_fine_pixels_share_the_coarse_pixel(scene, scale):
    # with one PSF for both surveys and no noise, a coarse pixel is the sum of its fine ones
    one = Seeing(3.5, (1.2,) * 5)
    source, target, _ = render_pair(scene, None, ("sdss", "sdss"), (one, one), 48, scale, noise=False)
    summed = target.reshape(5, 48, scale, 48, scale).sum(axis=(2, 4))
    np.testing.assert_allclose(source, summed, atol=2e-4 * source.max())


def test_blank_sky_has_the_noise_of_the_survey(rng):
    seeings = draw_seeing(rng, "sdss"), draw_seeing(rng, "cfhtls-wide", 0)
    source, target, clean = render_pair(Scene("blank"), rng, SURVEYS, seeings, 128, 2)
    assert not clean.any()
    np.testing.assert_allclose(source.std(axis=(1, 2)), seeings[0].sky_rms(get_survey("sdss")), rtol=0.03)
    np.testing.assert_allclose(target.std(axis=(1, 2)), get_survey("cfhtls-wide").sky_rms(0.198), rtol=0.03)


def test_seeing_from_the_best_nights_to_the_worst(rng):
    draws = np.array([draw_seeing(rng, "sdss", 0.13, 0.4).fwhm for _ in range(2000)])
    typical = np.array([band.fwhm for band in get_survey("sdss").bands])
    assert np.median(draws[:, 2]) == pytest.approx(typical[2], rel=0.1)
    for low, high in ((0.8, 0.9), (1.3, 1.4), (1.5, 1.6), (1.7, 1.8)):  # arcsec; enough of each to learn from
        assert ((draws[:, 2] > low) & (draws[:, 2] < high)).mean() > 0.02
    assert np.std(np.log(draws[:, 2] / draws[:, 1])) == pytest.approx(0.13 / 4 * np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("band", "ugriz")
def test_sky_noise_of_real_frames(band, rng):
    """Within 10 % of what is measured in the Stripe 82 frames, away from sources."""
    measured = []
    for frame in ("sdss-004192-{}4-0300", "sdss-006377-{}4-0399"):
        with fits.open(shared_data("sdss_stripe82", frame.format(band) + ".fits.fz")) as hdus:
            image = hdus["SCI"].data.astype(float)
        patches = image[:1472, :2048].reshape(23, 64, 32, 64).swapaxes(1, 2).reshape(-1, 4096)
        # differences of neighbours see noise, not slopes of the sky; a low percentile of patches has no source
        rms = mad_std(np.diff(patches, axis=1), axis=1) / np.sqrt(2)
        measured.append(sigma_clipped_stats(rms)[1])
    seeings = draw_seeing(rng, "sdss", 0), draw_seeing(rng, "cfhtls-wide", 0)
    source, _, _ = render_pair(Scene("blank"), rng, SURVEYS, seeings, 128, 2)
    assert source["ugriz".index(band)].std() == pytest.approx(np.mean(measured), rel=0.10)


def test_photon_noise_of_a_bright_source(rng):
    # 200 draws of one bright star: the variance in its core is flux / electrons per flux unit, plus sky
    star = Scene("star", points=[(0.198, 0.198, np.full(10, 15.0))])
    seeings = Seeing(3.5, (1.2,) * 5), Seeing(3.5, (0.8,) * 5)
    draws = np.array([render_pair(star, rng, SURVEYS, seeings, 16, 1)[0] for _ in range(200)])
    survey = get_survey("sdss")
    for k, band in enumerate(survey.bands):
        peak = np.unravel_index(draws[:, k].mean(axis=0).argmax(), (16, 16))
        expected = np.sqrt(draws[:, k, *peak].mean() / band.electrons + band.sky_rms**2)
        assert draws[:, k, *peak].std() == pytest.approx(expected, rel=0.2)
