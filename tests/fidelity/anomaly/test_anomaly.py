"""Anomalies: probabilities of perfect translations, planted fakes at the significance they must have, colour terms."""

import numpy as np
import pytest
import scenes
from fakes import add_arms, add_points, roc, roc_table
from numpy.testing import assert_allclose
from scipy import special, stats

from astro_galtrans.fidelity.anomaly.blanksky import blank_sky, log_peak_probability, roughness
from astro_galtrans.fidelity.anomaly.colour_terms import ColourTerms
from astro_galtrans.fidelity.anomaly.degrade import Degrader
from astro_galtrans.fidelity.anomaly.measure import anomalies
from astro_galtrans.fidelity.anomaly.residuals import Tolerance
from astro_galtrans.fidelity.anomaly.result import AnomalyResult
from astro_galtrans.statistics.logprob import log_any, log_chi2_sf, log_complement
from helpers import make_survey

EXACT = Tolerance(flux=0, width=0, ellipticity=0, wings=0)
KNOWN = {"tolerance": EXACT, "colour_terms": None, "own_noise": [0, 0, 0], "progress": False}
WITHOUT_PHOTONS = make_survey(scenes.BANDS, scenes.PIXEL, scenes.SKY, zeropoint=scenes.ZEROPOINT), scenes.SURVEYS[1]


def judged(source, translated, *, known=None, **options):
    """Scores of translations, one or by name, of a source of which more may be known."""
    many = translated if isinstance(translated, dict) else {"translated": translated}
    many = {name: scenes.of_target(images) for name, images in many.items()}
    return anomalies(scenes.stamps(source, **known or {}), many, **KNOWN | options)


def ordered(result, name, model="translated"):
    """A column of the galaxies in their own order."""
    table = result["galaxies"]
    table = table[np.asarray(table["model"]) == model]
    return np.asarray(table[name])[np.argsort(table["row"])]


@pytest.fixture(scope="module")
def perfect():
    source, target, _ = scenes.pairs(300, seed=3)
    noisy = target + np.random.default_rng(1).normal(0, 1.3, target.shape)
    own = {"clean": [0, 0, 0], "noisy": [1.3] * 3}
    return judged(source, {"clean": target, "noisy": noisy.astype(np.float32)}, own_noise=own)


@pytest.mark.parametrize("model", ["clean", "noisy"])
def test_a_perfect_translation_has_chi2_of_one_and_uniform_probabilities(perfect, model):
    dof = sum(ordered(perfect, f"dof_{band}", model) for band in scenes.BANDS)
    side = scenes.SIDE - 2 * perfect.meta["margin"]
    assert (dof == 3 * side**2).all()
    ratio = ordered(perfect, "chi2_dof", model)
    assert_allclose(ratio.mean(), 1, atol=4 * np.sqrt(2 / dof[0] / len(ratio)))
    assert_allclose(ratio.std(), np.sqrt(2 / dof[0]), rtol=0.15)
    for statistic in (None, "chi2", "peak", "flux"):
        p = 10 ** -perfect.scores(model, statistic)
        assert stats.kstest(p, "uniform").pvalue > 1e-3
        assert (p < 0.01).mean() < 0.03
    assert ordered(perfect, "anomalous", model).sum() <= 1
    assert (
        perfect.value("anomalous", "number", model=model, band="all")[0] == ordered(perfect, "anomalous", model).sum()
    )
    assert perfect.value("chi2_dof", "median", model=model, band="all")[0] == np.median(ratio)
    error = ordered(perfect, "flux_error_r", model)
    assert_allclose(
        perfect.value("flux_error", "scatter", model=model, band="r")[0],
        stats.median_abs_deviation(error, scale="normal"),
        rtol=1e-4,
    )
    share = np.mean(perfect.scores(model, "peak") > 2)
    assert perfect.value("score_peak", "share_above_2", model=model, band="all")[0] == share


def test_blank_sky_has_no_anomalies(rng):
    sky = rng.normal(0, 1, (200, 3, scenes.SIDE, scenes.SIDE)) * scenes.SKY[:, None, None]
    nothing = np.zeros((200, 3, 2 * scenes.SIDE, 2 * scenes.SIDE), np.float32)
    result = judged(sky.astype(np.float32), nothing)
    assert not ordered(result, "anomalous").any()
    assert stats.kstest(10 ** -result.scores("translated", "peak"), "uniform").pvalue > 1e-3
    assert (result.scores("translated", "flux") == 0).all()  # no flux, so no error of it


def test_a_flux_error_has_the_chi2_and_significance_it_must_have():
    source, target, _ = scenes.pairs(200, seed=5)
    exact = scenes.pairs(200, seed=5, noise=False)[0]
    result = judged(source, 1.1 * target)
    m = result.meta["margin"]
    inside = ..., slice(m, -m), slice(m, -m)
    model = 1.1 * exact.astype(float)
    expected = scenes.SKY[:, None, None] ** 2 + model / scenes.ELECTRONS[:, None, None]  # what it takes the noise for
    real = scenes.SKY[:, None, None] ** 2 + exact / scenes.ELECTRONS[:, None, None]
    chi2 = (((0.1 * exact) ** 2 + real) / expected)[inside].sum(axis=(2, 3))
    sigma = 1 / np.sqrt((model**2 / expected)[inside].sum(axis=(2, 3)))
    for k, band in enumerate(scenes.BANDS):
        pull = (ordered(result, f"chi2_{band}") - chi2[:, k]) / np.sqrt(
            2 * ordered(result, f"dof_{band}") + 4 * (0.1 / 1.1 / sigma[:, k]) ** 2
        )
        assert_allclose([pull.mean(), pull.std()], [0, 1], atol=0.25)
        assert_allclose(ordered(result, f"flux_sigma_{band}"), sigma[:, k], rtol=1e-3)
        pull = (ordered(result, f"flux_error_{band}") - 0.1 / 1.1) / sigma[:, k]
        assert_allclose([pull.mean(), pull.std()], [0, 1], atol=0.2)


def test_one_galaxy_with_a_flux_error_stands_out_though_colour_terms_are_fitted():
    source, target, _ = scenes.pairs(120, seed=6, faint=30)
    target[17] *= 1.1
    result = judged(source, target, colour_terms="fit", tolerance=Tolerance(width=0, wings=0))
    assert int(result["galaxies"]["row"][0]) == 17
    assert ordered(result, "anomalous")[17] and ordered(result, "score_flux")[17] > 5
    assert_allclose(ordered(result, "flux_error")[17], 0.1 / 1.1, atol=0.02)


@pytest.mark.parametrize(("sign", "kind"), [(1, "invented"), (-1, "lost")])
def test_a_point_source_is_found_where_it_is_at_the_significance_it_must_have(sign, kind):
    source, target, _ = scenes.pairs(100, seed=7)
    flux = np.array([0.8, 1.2, 1.8])
    sigma = [fwhm * scenes.TO_SIGMA for fwhm in scenes.FWHM]
    point = [scenes.gaussian(scenes.SIDE, scenes.PIXEL, s, 2.5, -2.8) for s in sigma]
    fake = [
        scenes.FACTOR * f * scenes.gaussian(2 * scenes.SIDE, scenes.PIXEL / 2, fwhm * scenes.TO_SIGMA, 2.5, -2.8)
        for f, fwhm in zip(flux, scenes.TARGET_FWHM, strict=True)
    ]
    if sign > 0:
        target = target + np.float32(fake)
    else:
        source = source + np.float32(flux[:, None, None] * point)
    result = judged(source, target)
    # white noise far from the galaxy: flux over noise, the noise of the square of the PSF
    expected = [f * np.sqrt((p**2).sum()) / sky for f, p, sky in zip(flux, point, scenes.SKY, strict=True)]
    for band, value in zip(scenes.BANDS, expected, strict=True):
        peak = ordered(result, f"peak_{band}")
        found = np.hypot(ordered(result, f"x_{band}") - 2.5, ordered(result, f"y_{band}") + 2.8) < 0.6
        assert found.mean() > 0.95
        assert_allclose(np.median(sign * peak[found]), value, rtol=0.1)
    assert (ordered(result, "kind") == kind).all()
    assert ordered(result, "anomalous").all()
    assert_allclose(np.median(ordered(result, "x")), 2.5, atol=0.3)
    # it could have been anywhere: less significant than at a known place, but not by more than the number of pixels
    alone = -np.log10(special.gammaincc(1.5, 0.5 * np.sum(np.square(expected))))
    # (and 10 % less where it is not in the middle of a pixel)
    assert 0.9 * alone - np.log10(scenes.SIDE**2) < np.median(result.scores("translated", "peak")) < alone


def test_what_is_tolerated_is_no_anomaly():
    source, target, _ = scenes.pairs(80, seed=8, faint=50, bright=300)
    wrong = {"psf": 1.03 * scenes.FWHM}
    assert ordered(judged(source, target, known=wrong), "anomalous").mean() > 0.5
    width = Tolerance(flux=0, width=0.03, ellipticity=0, wings=0)
    result = judged(source, target, known=wrong, tolerance=width)
    assert ordered(result, "anomalous").mean() < 0.05
    moved = scenes.pairs(80, seed=8, faint=50, bright=300, x=0.05, noise=False)[1]
    assert ordered(judged(source, moved), "anomalous").mean() > 0.9
    result = judged(source, moved, tolerance=Tolerance(0, 0, 0, 0, shift=0.05, sky=0.1))
    assert ordered(result, "anomalous").mean() < 0.05


def test_a_translation_with_noise_of_its_own_is_judged_without_bias():
    source, target, _ = scenes.pairs(150, seed=15, faint=5, bright=30)
    own = 20.0  # in a source pixel more than the noise of the source
    noisy = (target + np.random.default_rng(2).normal(0, own, target.shape)).astype(np.float32)
    tolerance = Tolerance(0, 0.05, 0.02, 0, shift=0.05, sky=0.1)
    result = judged(source, noisy, own_noise=[own] * 3, tolerance=tolerance)
    for band in scenes.BANDS:
        pull = ordered(result, f"flux_error_{band}") / ordered(result, f"flux_sigma_{band}")
        assert_allclose([np.mean(pull), np.std(pull)], [0, 1], atol=0.3)
    assert (result.scores("translated") > 2).mean() < 0.04


def test_true_images_are_no_anomalies_where_noise_differs_from_galaxy_to_galaxy():
    """White noise of a known size, 0.7 to 3 times what is stated, from galaxy to galaxy; and faults among it."""
    source, target, _ = scenes.pairs(200, seed=20, faint=5, bright=30, noise=False)
    rng, own = np.random.default_rng(5), 15.0
    size = np.exp(rng.uniform(np.log(0.7), np.log(3), 200))[:, None, None, None]
    source = source + size * scenes.SKY[:, None, None] * rng.standard_normal(source.shape)
    target = (target + rng.normal(0, own, target.shape)).astype(np.float32)
    known = {"known": {"surveys": WITHOUT_PHOTONS}, "noise": "measured", "own_noise": [own] * 3}
    known["tolerance"] = Tolerance(0.03, 0.05, 0.03, 0.2, halo=0.2, shift=0.05, sky=0.2)
    result = judged(source.astype(np.float32), target, **known)
    assert_allclose(np.median(ordered(result, "chi2_dof")), 1, atol=0.02)
    for statistic in (None, "chi2", "peak", "flux"):
        assert (result.scores("translated", statistic) > 2).mean() <= 0.05
    sigma = scenes.FWHM * scenes.TO_SIGMA
    point = np.array([scenes.gaussian(scenes.SIDE, scenes.PIXEL, each, 2.5, -2.8) for each in sigma])
    noise = np.hypot(scenes.SKY, own * 2 / scenes.FACTOR)  # four pixels of the target in one of the source
    flux = 8 * noise / np.sqrt((point**2).sum(axis=(1, 2)))  # eight sigma in each band where size is one
    lost = source + (size * flux[:, None, None] * point)
    result = judged(lost.astype(np.float32), target, **known)
    assert (result.scores("translated") > 2).mean() > 0.95
    assert (ordered(result, "kind") == "lost").mean() > 0.95


def test_tolerated_effects_do_not_explain_the_noise_of_a_translation():
    """Where source and translation are equally noisy and equally sharp, chi-squared is one, whatever is tolerated."""
    source, target, _ = scenes.pairs(60, seed=21, faint=5, bright=30, noise=False)
    rng, own = np.random.default_rng(6), scenes.FACTOR * scenes.SKY / 2  # of the same size in a source pixel
    source = source + scenes.SKY[:, None, None] * rng.standard_normal(source.shape)
    target = target + own[:, None, None] * rng.standard_normal(target.shape)
    tolerance = Tolerance(0.05, 0.05, 0.03, 0.5, halo=0.2, shift=0.05, sky=0.2)
    known = {"known": {"surveys": WITHOUT_PHOTONS}, "own_noise": own, "tolerance": tolerance}
    result = judged(source.astype(np.float32), target.astype(np.float32), **known)
    # each of nine effects may take one degree of freedom, and no more
    most = 9 / ordered(result, "dof_r")[0]
    assert 1 - most - 0.005 < ordered(result, "chi2_dof").mean() < 1.01


def test_light_from_beyond_the_edge_is_not_lost():
    """A star outside the stamp, whose wings only the broader PSF of the source brings in."""
    source, target, _ = scenes.pairs(40, seed=22, faint=5, bright=30)
    star = [scenes.gaussian(scenes.SIDE, scenes.PIXEL, fwhm * scenes.TO_SIGMA, 6.7, 1.0) for fwhm in (3, 3, 3)]
    source[::2] += 10 * np.float32(star)
    result = judged(source, target)
    assert (ordered(result, "dof_r")[::2] < ordered(result, "dof_r")[1]).all()
    assert (result.scores("translated") > 2).mean() <= 0.05


def test_each_band_is_compared_at_the_broader_psf():
    """A target that is less sharp than the source in r alone."""
    source, target, flux = scenes.pairs(150, seed=23, noise=False)
    draws = np.random.default_rng(23)  # as of the scenes: fluxes first
    draws.uniform(size=150)
    sigma = np.hypot(draws.uniform(0.3, 1.0, 150), 1.6 * scenes.TO_SIGMA)
    shapes = np.array([scenes.gaussian(2 * scenes.SIDE, scenes.PIXEL / 2, each) for each in sigma])
    target[:, 1] = scenes.FACTOR * flux[:, 1, None, None] * shapes
    noise = np.random.default_rng(7).standard_normal(source.shape)
    source = (source + scenes.SKY[:, None, None] * noise).astype(np.float32)
    surveys = WITHOUT_PHOTONS[0], scenes.SURVEYS[1]
    both = scenes.stamps(source, target, target_psf=np.array([0.85, 1.6, 0.7]), surveys=surveys)
    result = anomalies(*both, **KNOWN)
    assert result.meta["compared at the target's PSF"] == ["r"]
    for band in scenes.BANDS:
        ratio = ordered(result, f"chi2_{band}") / ordered(result, f"dof_{band}")
        assert_allclose(ratio.mean(), 1, atol=4 * ratio.std() / np.sqrt(150))
        pull = ordered(result, f"flux_error_{band}") / ordered(result, f"flux_sigma_{band}")
        assert_allclose([np.mean(pull), np.std(pull)], [0, 1], atol=0.3)
    for statistic in (None, "chi2", "peak", "flux"):
        assert (result.scores("translated", statistic) > 2).mean() < 0.05


def test_noise_that_is_correlated_or_not_as_stated_is_measured():
    source, target, _ = scenes.pairs(150, seed=16, faint=5, bright=30, noise=False)
    rng = np.random.default_rng(3)
    # the mean of two neighbours, as of an image that was resampled between its pixels
    noise = 1.3 * scenes.SKY[:, None, None] * rng.standard_normal((150, 3, scenes.SIDE, scenes.SIDE + 1))
    source = (source + (noise[..., 1:] + noise[..., :-1]) / 2).astype(np.float32)
    known = {"surveys": WITHOUT_PHOTONS}
    assert abs(ordered(judged(source, target, known=known), "chi2_dof").mean() - 1) > 0.1
    result = judged(source, target, noise="measured", known=known)
    assert_allclose(ordered(result, "chi2_dof").mean(), 1, atol=0.02)
    for statistic in ("chi2", "peak", "flux"):
        assert (result.scores("translated", statistic) > 2).mean() < 0.05
    # white noise of variance 1 / 2 with a correlation of 1 / 2 to either side
    dof, spread = ordered(result, "dof_r"), ordered(result, "chi2_r").std()
    assert_allclose(spread, np.sqrt(2 * dof[0] * (1 + 2 * 0.5**2)), rtol=0.2)
    with pytest.raises(ValueError, match="'stated' or 'measured', got 'white'"):
        judged(source, target, noise="white")


def test_images_of_different_depth_are_judged_alike():
    """One factor for all would call the translations of the deep and of the shallow images wrong."""
    source, target, _ = scenes.pairs(160, seed=21, faint=5, bright=30, noise=False)
    rng = np.random.default_rng(4)
    depth = rng.uniform(0.75, 1.35, 160)
    noise = rng.standard_normal((160, 3, scenes.SIDE, scenes.SIDE + 1)) * scenes.SKY[:, None, None]
    noise[::2, ..., 1:] = (noise[::2, ..., 1:] + noise[::2, ..., :-1]) / np.sqrt(2)  # every other one was resampled
    source = (source + depth[:, None, None, None] * noise[..., 1:]).astype(np.float32)
    result = judged(source, target, noise="measured", known={"surveys": WITHOUT_PHOTONS})
    ratio = ordered(result, "chi2_dof")
    assert_allclose(ratio.mean(), 1, atol=0.02)
    assert ratio.std() < 0.05  # with one factor for all it is 0.3
    assert_allclose([ratio[depth < 0.85].mean(), ratio[depth > 1.25].mean()], 1, atol=0.06)
    for statistic in (None, "chi2", "peak", "flux"):
        assert (result.scores("translated", statistic) > 2).mean() <= 0.06
    fake = target.copy()
    bright = 2000 * np.array([scenes.gaussian(2 * scenes.SIDE, scenes.PIXEL / 2, w * scenes.TO_SIGMA, 2, 2)
                              for w in scenes.TARGET_FWHM])  # fmt: skip
    fake[::10] += np.float32(bright)
    found = judged(source, fake, noise="measured", known={"surveys": WITHOUT_PHOTONS}).scores("translated")
    assert (found[::10] > 2).all()


def test_noise_that_a_translation_has_is_not_taken_for_an_effect():
    """Where both images are as noisy, it explained a quarter of chi-squared, as if the PSF and flux were off."""
    clean = scenes.pairs(200, seed=22, faint=3, bright=8, noise=False)[0]
    rng = np.random.default_rng(5)
    source, translated = (
        (factor * (clean + rng.standard_normal(clean.shape) * scenes.SKY[:, None, None])).astype(np.float32)
        for factor in (1, scenes.FACTOR)
    )
    surveys = WITHOUT_PHOTONS[0], make_survey(scenes.BANDS, scenes.PIXEL, zeropoint=scenes.TARGET_ZEROPOINT)
    known = {
        "tolerance": Tolerance(flux=0.05, width=0.05, ellipticity=0.03, wings=0, shift=0.05, sky=0.2),
        "own_noise": list(scenes.FACTOR * scenes.SKY),
    }
    both = scenes.stamps(source, translated, target_psf=scenes.FWHM, surveys=surveys)
    result = anomalies(*both, **KNOWN | known)
    assert_allclose(ordered(result, "chi2_dof").mean(), 1, atol=0.03)
    assert (result.scores("translated", "peak") > 2).mean() < 0.05


def test_colour_terms_of_filters_are_found_and_taken_out():
    rng = np.random.default_rng(9)
    number = 120
    colours = 10 ** (0.4 * np.outer(rng.normal(0, 0.3, number), [-1, 0, 1])) * scenes.COLOURS
    terms = np.array([[0.85, 0.1, 0.0], [-0.05, 1.02, 0.04], [0.0, 0.08, 0.95]])
    _, target, flux = scenes.pairs(number, seed=9, colours=colours, faint=30, noise=False)
    shapes = scenes.pairs(number, seed=9, colours=colours, faint=30, noise=False)[0] / flux[:, :, None, None]
    source = shapes * (flux @ terms.T)[:, :, None, None]
    source = (source + rng.standard_normal(source.shape) * np.sqrt(scenes.SKY[:, None, None] ** 2)).astype(np.float32)
    known = {"surveys": WITHOUT_PHOTONS}
    assert ordered(judged(source, target, known=known), "anomalous").mean() > 0.9
    result = judged(source, target, known=known, colour_terms="fit")
    assert ordered(result, "anomalous").mean() < 0.05
    found = ColourTerms.from_table(result["terms"])
    assert_allclose(found.matrix, terms, atol=0.02)
    assert (found.scatter < 0.005).all()
    again = judged(source, target, known=known, colour_terms=found)
    assert_allclose(again.scores("translated"), result.scores("translated"), atol=0.05)


def test_true_images_are_scored_too_and_give_the_colour_terms():
    source, target, _ = scenes.pairs(60, seed=10, faint=30)
    real, fit = scenes.of_target(target), KNOWN | {"colour_terms": "fit"}
    result = anomalies(scenes.stamps(source), {"bright": 1.05 * target}, target=real, **fit)  # arrays, as the target's
    assert result.models == ["target", "bright"]
    assert ordered(result, "anomalous", "target").mean() < 0.05
    assert ordered(result, "anomalous", "bright").mean() > 0.9  # an error that all share is not taken for a colour term
    lenient = judged(source, {"bright": 1.05 * target}, colour_terms="fit")
    assert ordered(lenient, "anomalous", "bright").mean() < 0.05


def test_a_broader_target_is_compared_at_its_own_psf():
    target = scenes.pairs(150, seed=11)[1]
    coarse = target.reshape(150, 3, scenes.SIDE, 2, scenes.SIDE, 2).sum(axis=(3, 5))
    surveys = WITHOUT_PHOTONS[0], make_survey(scenes.BANDS, scenes.PIXEL, zeropoint=scenes.TARGET_ZEROPOINT)
    swapped = {"psf": scenes.TARGET_FWHM, "target_psf": scenes.FWHM, "surveys": surveys}
    rng = np.random.default_rng(12)
    sharp = coarse / scenes.FACTOR + rng.standard_normal(coarse.shape) * scenes.SKY[:, None, None]
    blurred = scenes.pairs(150, seed=11, noise=False)[0] * scenes.FACTOR
    result = anomalies(*scenes.stamps(sharp, blurred, **swapped), **KNOWN)
    assert result.meta["compared at the target's PSF"] == list(scenes.BANDS)
    ratio = ordered(result, "chi2_dof")
    assert_allclose(ratio.mean(), 1, atol=0.02)
    assert 0.002 < (result.scores("translated", "chi2") > 2).mean() + 0.002 < 0.05
    assert (result.scores("translated", "peak") > 2).mean() < 0.05
    fake = blurred + np.float32(
        [2000 * scenes.gaussian(scenes.SIDE, scenes.PIXEL, fwhm * scenes.TO_SIGMA, 2, 2) for fwhm in scenes.FWHM]
    )
    result = anomalies(*scenes.stamps(sharp, fake, **swapped), **KNOWN)
    assert ordered(result, "anomalous").mean() > 0.95


def test_bad_pixels_and_broken_galaxies():
    source, target, _ = scenes.pairs(6, seed=13)
    mask = np.zeros((6, scenes.SIDE, scenes.SIDE), bool)
    mask[2, 15:20, 20] = True
    source[2, :, 15:20, 20] = 1e6
    source[3, 1] = np.nan
    target[4, 0, 3, 3] = np.nan
    result = judged(source, target, known={"mask": mask}, worst=2)
    side = scenes.SIDE - 2 * result.meta["margin"]
    assert list(ordered(result, "dof_r")) == [side**2] * 2 + [side**2 - 5, 0, 0, side**2]
    assert not ordered(result, "anomalous").any()
    assert np.isfinite(ordered(result, "score")).all()
    assert ordered(result, "score")[4] == 0  # nothing could be compared
    assert len(result["maps"]) == 2


def test_written_it_is_read_again_and_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    source, target, _ = scenes.pairs(20, seed=14)
    result = judged(source, target, worst=2)
    result.report(tmp_path / "out")
    assert {"worst_translated.png", "probabilities.png", "report.html", "maps.fits"} <= {
        p.name for p in tmp_path.glob("out/*")
    }
    for path, settings in ((tmp_path / "out", {}), (tmp_path / "a.fits", {}), (tmp_path / "b", {"format": "fits"})):
        if path.name != "out":
            result.write(path, **settings)
        again = AnomalyResult.read(path)
        assert again.models == result.models and again.bands == list(scenes.BANDS)
        assert_allclose(again.scores("translated"), result.scores("translated"))
        assert_allclose(again["maps"]["residual"], result["maps"]["residual"])
    assert (np.diff(result["galaxies"]["score"]) <= 0).all()


def test_what_does_not_fit_is_named():
    source, target, _ = scenes.pairs(3, seed=1)
    with pytest.raises(ValueError, match="few has 2 rows, source 3"):
        judged(source, {"few": target[:2]})
    with pytest.raises(ValueError, match="two has 2 bands, the survey mine has 3"):
        anomalies(scenes.stamps(source), {"two": target[:, :2]}, target=scenes.of_target(target), **KNOWN)
    with pytest.raises(ValueError, match="cannot be called 'target'"):
        judged(source, {"target": target})
    with pytest.raises(TypeError, match=r"give Stamps, or target= \(Stamps of that survey\)"):
        anomalies(scenes.stamps(source), target, **KNOWN)
    with pytest.raises(TypeError, match=r"source must be Stamps\(images, survey\).*got ndarray"):
        anomalies(source, scenes.of_target(target), **KNOWN)
    with pytest.raises(ValueError, match="noise of source is not known in r; give sky_rms or variance"):
        judged(source, target, known={"sky_rms": [1, np.nan, 2]})
    with pytest.raises(ValueError, match=r"own_noise must be one number, zero or positive, per band \(g, r, i\)"):
        judged(source, target, own_noise=[1, 2])
    with pytest.raises(ValueError, match="'fit', None or ColourTerms"):
        judged(source, target, colour_terms="some")
    with pytest.raises(ValueError, match="colour terms are for u, g"):
        judged(source, target, colour_terms=ColourTerms.none("ug"))
    with pytest.raises(ValueError, match="zero or positive, got width=-1"):
        Tolerance(width=-1)


# -- probabilities


def test_tiny_probabilities():
    from mpmath import gammainc, inf, log
    from scipy.integrate import quad

    for q, dof in ((3.0, 5), (1500.0, 50), (20000.0, 1)):
        exact = float(log(gammainc(dof / 2, q / 2, inf, regularized=True)))
        assert_allclose(log_chi2_sf(q, dof), exact, rtol=1e-10)
    for q, dof in ((13000.0, 6000.7), (32000.0, 13520.3)):  # of dof that are not whole
        a, top = dof / 2, dof / 2 - 1
        integral = quad(lambda t: np.exp(-t + top * np.log1p(2 * t / q)), 0, np.inf, epsabs=0)[0]  # noqa: B023
        exact = -q / 2 + top * np.log(q / 2) + np.log(integral) - special.gammaln(a)
        assert_allclose(log_chi2_sf(q, dof), exact, rtol=1e-10)
    assert log_chi2_sf(3.0, 0) == 0
    assert_allclose(log_any(np.log(0.1), 3), np.log(1 - 0.9**3))
    assert_allclose(log_any(-1000.0, 3), -1000 + np.log(3))
    assert_allclose(log_complement(np.log(0.3)), np.log(1 - np.exp(-0.3)))


def test_maxima_of_blank_sky_have_uniform_probabilities(rng):
    pixels, size, number = (48, 48), (40, 40), 600
    ky, kx = 2 * np.pi * np.fft.fftfreq(48)[:, None], 2 * np.pi * np.fft.rfftfreq(48)
    point = np.array([np.exp(-0.5 * s**2 * (kx**2 + ky**2)) for s in (1.3, 1.5, 1.2)])
    # of a Gaussian of width s the square is one of s / sqrt(2): lambda = 1 / (2 s^2)
    assert_allclose(roughness(point, pixels), 1 / (2 * np.array([1.3, 1.5, 1.2]) ** 2), rtol=1e-3)
    blank = blank_sky(point, pixels, size, number=400, seed=1)
    maps = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((number, 3, *pixels))) * point, s=pixels)[..., :40, :40]
    squares = (maps / maps.std(axis=(0, 2, 3), keepdims=True)) ** 2
    single = log_peak_probability(squares.max(axis=(2, 3)), 1, size, roughness(point, pixels), blank.factors[0])
    together = log_peak_probability(
        squares.sum(axis=1).max(axis=(1, 2)), 3, size, roughness(point, pixels).mean(), blank.factors[1]
    )
    for log_p in (single.ravel(), together):
        assert stats.kstest(np.exp(log_p), "uniform").pvalue > 1e-3
        assert_allclose((log_p < np.log(0.01)).mean(), 0.01, atol=0.01)
    either = log_any(np.column_stack([single, together]), blank.tests, axis=1)
    assert stats.kstest(np.exp(either), "uniform").pvalue > 1e-3


# -- fakes


def test_planted_light_has_its_flux_place_and_psf():
    surveys = scenes.SURVEYS[0], make_survey(scenes.BANDS, scenes.PIXEL / 2, zeropoint=scenes.ZEROPOINT)
    degrader = Degrader(*scenes.stamps(np.zeros((2, 3, 40, 40)), np.zeros((2, 3, 80, 80)), surveys=surveys))
    flux = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    found = add_points(degrader, np.zeros((2, 3, 40, 40)), [0, 1], [1.1, -2.0], [0.3, 2.5], flux)
    expected = [
        [
            f * scenes.gaussian(40, scenes.PIXEL, fwhm * scenes.TO_SIGMA, x, y)
            for f, fwhm in zip(row, scenes.FWHM, strict=True)
        ]
        for row, x, y in zip(flux, (1.1, -2.0), (0.3, 2.5), strict=True)
    ]
    assert_allclose(found, expected, atol=1e-4)
    arms = add_arms(degrader, np.zeros((2, 3, 80, 80)), [0, 1], [1.0, 1.5], flux, [0.0, 2.0])
    assert_allclose(arms.sum(axis=(2, 3)), flux, rtol=2e-3)
    y, x = (np.arange(80) - 39.5)[:, None] * scenes.PIXEL / 2, (np.arange(80) - 39.5) * scenes.PIXEL / 2
    along = np.linspace(0, np.pi, 40)
    distance = np.exp(np.tan(np.radians(20)) * along)
    for weight, coordinate in ((x, np.cos(along)), (y, np.sin(along))):
        assert_allclose((arms[0, 1] * weight).sum() / 2, (distance * coordinate).mean(), atol=0.01)


def test_sky_noise_of_each_galaxy_is_its_own():
    """Galaxies in front of a sky twice as noisy are judged by that; so they are where the variance says the same."""
    source, target, _ = scenes.pairs(40, seed=18, faint=5, bright=30, noise=False)
    sky = np.where(np.arange(40)[:, None] % 2, 2, 1) * scenes.SKY
    rng = np.random.default_rng(4)
    source = source + rng.standard_normal(source.shape) * sky[:, :, None, None]
    variance = np.broadcast_to(sky[:, :, None, None] ** 2, source.shape)
    found = judged(source, target, known={"sky_rms": sky, "surveys": WITHOUT_PHOTONS})
    assert_allclose(ordered(found, "chi2_dof")[1::2].mean(), 1, atol=0.05)
    assert_allclose(ordered(found, "chi2_dof")[::2].mean(), 1, atol=0.05)
    same = judged(source, target, known={"variance": variance})
    assert_allclose(ordered(found, "chi2_dof"), ordered(same, "chi2_dof"), rtol=1e-5)


def test_roc_of_two_gaussians(rng):
    clean, fake = rng.normal(0, 1, 4000), rng.normal(1.5, 1, 4000)
    table = roc_table(clean, {"shift": fake, "none": rng.permutation(clean)}, rng.uniform(15, 20, 4000), [15, 17.5, 20])
    whole = table[2]
    assert_allclose(whole["auc"], stats.norm.cdf(1.5 / np.sqrt(2)), atol=4 * whole["auc_error"])
    assert_allclose(whole["completeness"], stats.norm.sf(stats.norm.isf(0.01) - 1.5), atol=0.04)
    assert_allclose(table["auc"][5], 0.5) and table["n"][0] + table["n"][1] == table["n"][2] == 4000
    false, true = roc(clean, fake)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert_allclose(np.trapezoid(true, false), whole["auc"], atol=1e-6)
