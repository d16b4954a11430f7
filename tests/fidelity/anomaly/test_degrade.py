"""Degrading to the source's PSF and pixels, against images that are known exactly; PSFs as transfer functions."""

import numpy as np
import pytest
import scenes
from numpy.testing import assert_allclose
from scipy import fft, integrate

from astro_galtrans import measure
from astro_galtrans.fidelity.anomaly.degrade import Degrader, degrade
from astro_galtrans.psf import Frequencies, MoffatPSF, SampledPSF, equivalent_fwhm, moffat_transform, psf_images
from astro_galtrans.stamps import Stamps
from helpers import make_survey

N, PIXEL = scenes.SIDE, scenes.PIXEL


def stamps(images, pixel, psf, bands="r", **known):
    """Stamps with Gaussian PSFs of these FWHMs, or other ones."""
    if not hasattr(psf, "transform") and np.ndim(psf) < 3:
        psf = MoffatPSF(np.full(len(bands), psf) if np.ndim(psf) == 0 else psf, np.inf)
    return Stamps(images, make_survey(bands, pixel, **known), psf=psf)


def scene(n, pixel, fwhm):
    """A galaxy off the centre and a star; PSF of this FWHM."""
    sigma = fwhm * scenes.TO_SIGMA
    return scenes.gaussian(n, pixel, np.hypot(0.5, sigma), 0.3, -0.7) + scenes.gaussian(n, pixel, sigma, 3, 4) / 2


@pytest.mark.parametrize(("scale", "tolerance"), [(1, 5e-3), (2, 1e-5), (3, 1e-5)])
def test_what_the_source_sees(scale, tolerance):  # at scale 1 the target's pixels do not resolve its PSF
    source, target = scene(N, PIXEL, 1.2), scene(scale * N, PIXEL / scale, 0.8)
    found = degrade(
        stamps(1000 * target[None, None], PIXEL / scale, 0.8, zeropoint=30),
        stamps(source[None, None], PIXEL, 1.2, zeropoint=22.5),
    )
    assert found.shape == (1, 1, N, N) and found.dtype == np.float32
    assert_allclose(found[0, 0], source, atol=tolerance * source.max())
    assert_allclose(found.sum(), 1.5, rtol=1e-3)  # the wings of both are inside


@pytest.mark.parametrize(("floor", "tolerance"), [(None, 1.5e-3), (1e-3, 1e-4)], ids=["for noisy stacks", "exact"])
def test_psfs_as_images_are_the_same(floor, tolerance, monkeypatch):
    if floor is not None:  # that of PSFs that are known exactly
        monkeypatch.setattr(SampledPSF, "floor", floor)
    source, target = scene(N, PIXEL, 1.2), scene(2 * N, PIXEL / 2, 0.8)
    psfs = [scenes.gaussian(25, PIXEL, 1.2 * scenes.TO_SIGMA), scenes.gaussian(51, PIXEL / 2, 0.8 * scenes.TO_SIGMA)]
    found = degrade(
        stamps(target[None, None], PIXEL / 2, 5 * psfs[1][None]), stamps(source[None, None], PIXEL, psfs[0][None])
    )
    assert_allclose(found[0, 0], source, atol=tolerance * source.max())


def test_bands_are_matched_by_name_and_galaxies_by_their_own_seeing():
    seeing = np.array([[1.2, 1.3], [1.4, 1.1]])
    target = np.array([[scene(2 * N, PIXEL / 2, fwhm) * k for k, fwhm in enumerate((0.7, 0.8, 0.9), 1)]] * 2)
    source = stamps(np.zeros((2, 2, N, N)), PIXEL, seeing, "gi")
    found = degrade(stamps(target, PIXEL / 2, [0.7, 0.8, 0.9], "gri"), source)
    expected = [[factor * scene(N, PIXEL, fwhm) for factor, fwhm in zip((1, 3), row, strict=True)] for row in seeing]
    assert_allclose(found, expected, atol=1e-5)


def test_colour_terms_mix_bands_at_one_psf():
    target = np.array([[scene(2 * N, PIXEL / 2, fwhm) * k for k, fwhm in enumerate((0.7, 0.9), 1)]])
    terms = np.array([[0.9, 0.05], [-0.1, 1.2]])
    source = stamps(np.zeros((1, 2, N, N)), PIXEL, [1.2, 1.3], "gr")
    found = degrade(stamps(target, PIXEL / 2, [0.7, 0.9], "gr"), source, terms=terms)
    fluxes = terms @ [1, 2]
    expected = [flux * scene(N, PIXEL, fwhm) for flux, fwhm in zip(fluxes, (1.2, 1.3), strict=True)]
    assert_allclose(found[0], expected, atol=2e-5)


def test_the_source_is_degraded_where_the_target_is_broader():
    source, target = scene(N, PIXEL, 0.8), scene(2 * N, PIXEL / 2, 1.3)
    both = stamps(source[None, None], PIXEL, 0.8), stamps(target[None, None], PIXEL / 2, 1.3)
    degrader = Degrader(*both)
    assert degrader.degraded == ("r",)
    matched = degrader.matched([0])
    m = degrader.margin
    inside = slice(m, -m), slice(m, -m)
    theirs = matched.image(matched.spectrum(matched.scene(target[None, None])))[0, 0][inside]
    assert_allclose(theirs, scene(N, PIXEL, 1.3)[inside], atol=1e-3 * theirs.max())
    assert_allclose(matched.source(source[None, None])[0, 0][inside], theirs, atol=5e-3 * theirs.max())  # 0.8" in 0.4"


def test_a_galaxy_seen_sharper_than_the_target_is_compared_at_the_target_s_psf():
    """One night of the source survey was better than the target's: two are not."""
    seeing, target = np.array([[1.3], [0.8], [1.4]]), scene(2 * N, PIXEL / 2, 1.1)
    source = np.array([[scene(N, PIXEL, fwhm)] for (fwhm,) in seeing])
    degrader = Degrader(stamps(source, PIXEL, seeing), stamps(np.array([[target]] * 3), PIXEL / 2, 1.1))
    matched = degrader.matched(np.arange(3))
    expected = np.array([[scene(N, PIXEL, fwhm)] for fwhm in (1.3, 1.1, 1.4)])
    found = matched.image(matched.spectrum(matched.scene(np.array([[target]] * 3))))
    assert_allclose(found, expected, atol=1e-3 * source.max())  # of the regularised inverse
    assert_allclose(matched.source(source), expected, atol=1e-3 * source.max())


def test_noise_of_the_translation_comes_out_as_predicted():
    both = (
        (np.zeros((1, 1, N, N)), PIXEL, MoffatPSF([1.2])),
        (np.zeros((1, 1, 2 * N, 2 * N)), PIXEL / 2, MoffatPSF([0.8])),
    )
    degrader = Degrader(stamps(*both[0], zeropoint=30 + 2.5 * np.log10(3)), stamps(*both[1]))
    matched, square = degrader.matched([0]), 0.0
    for y in (N, N + 1):  # what pixels at each place in a source pixel do to their surroundings
        for x in (N, N + 1):
            impulse = np.zeros((1, 1, 2 * N, 2 * N), np.float32)
            impulse[0, 0, y, x] = 1
            square += (matched.image(matched.spectrum(matched.scene(impulse))).astype(float) ** 2).sum()
    power = np.abs(matched.target_noise()[0, 0]) ** 2
    mean = fft.irfft2(power, s=degrader.frequencies.shape)[0, 0]  # over all frequencies
    assert_allclose(mean, square, rtol=5e-3)


def test_moffat_transform_is_that_of_the_profile():
    fwhm, beta = 1.2, 3.5
    core = fwhm / 2 / np.sqrt(2 ** (1 / beta) - 1)
    r = np.linspace(0, 60, 200_001)
    from scipy.special import j0

    profile = (beta - 1) / (np.pi * core**2) * (1 + (r / core) ** 2) ** -beta
    for k in (0.3, 1.0, 4.0):
        exact = integrate.simpson(2 * np.pi * r * profile * j0(k * r), x=r)
        assert_allclose(moffat_transform(k, fwhm, beta), exact, atol=2e-5)


def test_equivalent_fwhm_of_a_gaussian_is_its_own():
    frequencies = Frequencies((64, 60), 2, PIXEL)
    found = equivalent_fwhm(MoffatPSF([1.1, 1.6], np.inf).transform(frequencies, [0], [0, 1]), frequencies)
    assert_allclose(found, [[1.1, 1.6]], rtol=1e-3)


def test_images_of_psfs():
    exact = [scenes.gaussian(21, 0.2, fwhm * scenes.TO_SIGMA) for fwhm in (0.8, 1.1)]
    assert_allclose(psf_images(MoffatPSF([0.8, 1.1], np.inf), 0.2, 21), exact, atol=1e-4)
    assert_allclose(psf_images(SampledPSF(exact, 0.2), 0.2, 21), exact, atol=1e-4)


def test_what_does_not_fit_is_said():
    def degrader(side=40, target_side=80, psf=1.2, target_psf=0.8, target_bands="gr"):
        source = Stamps(np.zeros((3, 2, side, side)), make_survey("gr", PIXEL), psf=psf)
        shape = 3, len(target_bands), *np.broadcast_to(target_side, 2)
        return Degrader(source, Stamps(np.zeros(shape), make_survey(target_bands, PIXEL / 2), psf=target_psf))

    with pytest.raises(ValueError, match="70 x 80 pixels, source of 40 x 40; both must show"):
        degrader(target_side=(70, 80))
    with pytest.raises(ValueError, match="no band is in both surveys: g, r and Y, J"):
        degrader(target_bands="YJ")
    with pytest.raises(ValueError, match=r"psf of stamps .* 3 galaxies and 2 bands; got shape \(3,\)"):
        degrader(target_psf=[0.8, 0.7, 0.6])
    with pytest.raises(ValueError, match=r"psf of stamps .* 3 galaxies and 2 bands; got shape \(2, 2\)"):
        degrader(psf=np.full((2, 2), 1.2))
    with pytest.raises(ValueError, match="FWHM must be positive"):
        degrader(psf=[1.2, np.nan])
    with pytest.raises(ValueError, match="too small for PSFs that reach"):
        degrader(8, 16)
    with pytest.raises(ValueError, match="k odd"):
        SampledPSF(np.ones((1, 8, 8)), PIXEL)
    with pytest.raises(ValueError, match="of sum zero or less"):
        degrader(psf=np.zeros((2, 9, 9)))


def test_as_many_galaxies_as_bands_have_their_own_psf_and_noise_each():
    """With N = C, an array ``[N, C]`` must not be read the other way round: each galaxy alone is the truth."""
    source, target, _ = scenes.pairs(3, seed=1, faint=20)
    psf = np.array([[1.3, 1.25, 1.2], [1.6, 1.5, 1.4], [1.1, 1.15, 1.05]])
    sky = np.array([[0.02, 0.03, 0.04], [0.05, 0.06, 0.07], [0.1, 0.2, 0.3]])
    every = Stamps(source, scenes.SURVEYS[0], psf=psf, sky_rms=sky)
    degraded, table = degrade(scenes.of_target(target), every), measure.photometry(every, progress=False)
    for k in range(3):
        one = slice(k, k + 1)
        alone = Stamps(source[one], scenes.SURVEYS[0], psf=psf[one], sky_rms=sky[one])
        np.testing.assert_array_equal(every[one].psf, psf[one])
        # the edge differs: how far images are padded depends on the broadest PSF of all galaxies
        theirs = degrade(scenes.of_target(target[one]), alone)
        assert_allclose(degraded[one, :, 12:20, 12:20], theirs[..., 12:20, 12:20], rtol=1e-5)
        for name in ("flux_1_err", "flux_kron", "mag"):
            assert_allclose(table[table["row"] == k][name], measure.photometry(alone, progress=False)[name], rtol=1e-6)
