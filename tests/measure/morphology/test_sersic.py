"""Sersic models: astropy's, fitted along the same path, and profiles of known parameters recovered."""

import numpy as np
import pytest
from astropy.modeling.fitting import LevMarLSQFitter
from astropy.modeling.models import Moffat2D, Sersic2D
from astropy.utils import minversion
from scipy.optimize import approx_fprime, leastsq
from scipy.signal import fftconvolve
from statmorph import ConvolvedSersic2D

from astro_galtrans.measure.morphology.core import measure_core
from astro_galtrans.measure.morphology.minpack import FAILED, levenberg_marquardt
from astro_galtrans.measure.morphology.sersic import PARAMETERS, fit_sersic, measure_sersic, sersic_model
from astro_galtrans.measure.morphology.sersic_problem import Problem
from astro_galtrans.measure.morphology.shape import measure_shape

SHAPE = 40, 44
TRUTH = np.array(
    [
        [20.0, 4.0, 1.0, 21.3, 19.2, 0.3, 0.4],
        [5.0, 6.0, 2.5, 22.2, 20.1, 0.1, 2.0],
        [30.0, 3.0, 4.0, 20.7, 20.4, 0.5, 1.2],
        [12.0, 5.0, 0.5, 21.5, 19.5, 0.7, 2.9],
    ]
)


def moffat(size):
    y, x = np.mgrid[:size, :size] - size // 2
    return Moffat2D(3.0, 0, 0, 1.8, 3)(x, y)  # not normalised: the fit does it


def reference(parameters, psf, **settings):
    model = Sersic2D(*parameters, **settings) if psf is None else ConvolvedSersic2D(*parameters, **settings)
    if psf is not None:
        model.set_psf(psf)
    return model


def one(psf):
    """The PSF of all galaxies."""
    return None if psf is None else psf[None]


def grid():
    return np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)[::-1]


@pytest.mark.parametrize("size", [None, 15, 16, 101], ids=["no PSF", "odd", "even", "larger than the stamp"])
def test_model_is_astropys(size):
    psf = None if size is None else moffat(size)
    model = sersic_model(TRUTH, SHAPE, psf=one(psf))
    for parameters, image in zip(TRUTH, model, strict=True):
        np.testing.assert_allclose(image, reference(parameters, psf)(*grid()), atol=1e-12 * image.max())


@pytest.mark.parametrize("size", [None, 15], ids=["no PSF", "PSF"])
def test_known_profiles_are_recovered(size):
    psf = None if size is None else one(moffat(size))
    image = sersic_model(TRUTH, SHAPE, psf=psf)
    start = TRUTH * [1.3, 0.8, 1, 1, 1, 0.8, 1.05]
    start[:, 2] = 1.5
    fit = fit_sersic(image, np.ones_like(image), start, psf=psf)
    assert ((fit.info >= 1) & (fit.info <= 4)).all()
    np.testing.assert_allclose(fit.x, TRUTH, rtol=1e-4)


def fits(rng, size, n):
    """Ours of all galaxies, from a first guess of n, and for each what astropy's fitter finds and says."""
    psf = None if size is None else moffat(size)
    clean = sersic_model(TRUTH, SHAPE, psf=one(psf))
    sigma = np.sqrt(clean / 50 + 0.2**2)
    images, start = clean + rng.normal(size=clean.shape) * sigma, TRUTH.copy()
    start[:, :3] *= [0.7, 1.2, 1]
    start[:, 2] = n
    fit = fit_sersic(images, 1 / sigma, start, psf=one(psf))
    theirs = []
    for k, image in enumerate(images):
        fitter = LevMarLSQFitter()
        model = reference(start[k], psf, bounds={"n": (0.01, None)})
        found = fitter(model, *grid(), image, weights=1 / sigma[k], maxiter=500, acc=1e-5)
        theirs.append((found.parameters, fitter.fit_info["ierr"], fitter.fit_info["nfev"]))
    return fit, theirs


@pytest.mark.parametrize("size", [None, 15], ids=["no PSF", "PSF"])
def test_fit_takes_astropys_steps(rng, size):
    # From n = 2 without a PSF, that of the last galaxy passes below its bound, and there rounding decides on the steps.
    n = [2, 2, 2, 2 if size else 3]
    fit, theirs = fits(rng, size, n)
    for k, (parameters, reason, calls) in enumerate(theirs):
        np.testing.assert_allclose(fit.x[k], parameters, rtol=1e-4)
        if minversion("scipy", "1.15"):  # before, MINPACK was in Fortran, whose sums differ in their last digits
            assert (fit.info[k], fit.calls[k]) == (reason, calls)


def test_fit_that_passes_below_the_bound_comes_back(rng):
    fit, theirs = fits(rng, None, 2)
    np.testing.assert_allclose(fit.x[3], theirs[3][0], rtol=1e-4)
    assert 1 <= fit.info[3] <= 4


def test_all_together_is_one_by_one(rng):
    image = sersic_model(TRUTH, SHAPE) + rng.normal(0, 0.3, (4, *SHAPE))
    weight, start = np.ones_like(image), TRUTH * 1.1
    together = fit_sersic(image, weight, start)
    for k in range(4):
        alone = fit_sersic(image[k : k + 1], weight[k : k + 1], start[k : k + 1])
        np.testing.assert_allclose(alone.x[0], together.x[k], rtol=1e-8)


def test_light_beyond_the_frame_is_not_convolved_into_it():
    psf, frame = moffat(9), np.zeros((4, *SHAPE), bool)
    frame[:, :30, :32] = True
    small = sersic_model(TRUTH, (30, 32), psf=one(psf))
    image = np.zeros((4, *SHAPE))
    image[:, :30, :32] = small
    fit = fit_sersic(image, frame.astype(float), TRUTH, frame=frame, psf=one(psf))
    np.testing.assert_allclose(fit.norm / np.sqrt((image**2).sum((1, 2))), 0, atol=1e-12)


def test_quantities_are_statmorphs(drawn):
    values, geometry = measure_core(drawn.cutouts)
    values |= measure_shape(drawn.cutouts, geometry)
    values |= measure_sersic(drawn.cutouts, geometry, values)
    flag = drawn.values("flag_sersic")
    np.testing.assert_array_equal(values["flag_sersic"], flag)
    for name in [f"sersic_{name}" for name in (*PARAMETERS, "chi2_dof", "aic", "bic")]:
        want, found = drawn.values(name)[flag < 2], values[name][flag < 2]
        np.testing.assert_allclose(found, want, rtol=1e-3, err_msg=name)


def test_too_few_pixels_are_a_bad_fit(drawn):
    values, geometry = measure_core(drawn.cutouts)
    values |= measure_shape(drawn.cutouts, geometry)
    blind = drawn.cutouts.select(np.arange(len(drawn.cutouts)))
    blind.mask = blind.frame.copy()
    blind.mask[:, 24, 20:27] = False
    found = measure_sersic(blind, geometry, values)
    assert (found["flag_sersic"] == 2).all()
    assert np.isnan(found["sersic_chi2_dof"]).all()


# -- the residuals and normal equations: scipy's convolution and finite differences are the truth


def psfs(size):
    """Round, elongated, turned and irregular PSFs."""
    y, x = np.mgrid[:size, : size + 2] - size // 2
    round_, long = np.exp(-(x**2 + y**2) / 8), np.exp(-((x + y) ** 2) / 20 - (x - y) ** 2 / 9)
    noise = np.random.default_rng(4).normal(0, 0.02, round_.shape)
    return np.stack([round_, long, long + 0.3 * round_[:, ::-1], round_ + noise * round_])


@pytest.mark.parametrize("psf", [None, psfs(12), psfs(17)[:1], psfs(75)], ids=["none", "each", "one", "large"])
def test_residuals_and_normal_equations(rng, psf):
    image, weight = rng.uniform(size=(2, 4, *SHAPE))
    frame = np.zeros((4, *SHAPE), bool)
    for k in range(4):
        frame[k, : 40 - k, : 37 + 2 * k] = True
    weight[~frame] = 0
    weight[:, 15:19, 20:30] = 0
    x, rows = TRUTH[[2, 0, 3]].copy(), np.array([1, 0, 3])
    x[1, 2], x[2, 3:5] = 0.005, [21.0, 19]  # n below its bound, a centre on a pixel's
    problem = Problem(image, weight, frame, psf)
    norms, residuals = problem.residual(x, rows)
    matrices, gradients = problem.normal(x, rows, residuals)
    for i, row in enumerate(rows):
        inside = np.s_[: 40 - row, : 37 + 2 * row]
        kernel = None if psf is None else psf[row if len(psf) > 1 else 0]

        def residual(parameters, row=row, inside=inside, kernel=kernel):
            parameters = np.array(parameters)
            parameters[2] = max(parameters[2], 0.01)
            model = Sersic2D(*parameters)(*(t[inside] for t in grid()))
            model = model if kernel is None else fftconvolve(model, kernel / kernel.sum(), mode="same")
            return ((model - image[row][inside]) * weight[row][inside]).ravel()

        truth = residual(x[i])
        assert norms[i] == pytest.approx(np.linalg.norm(truth), rel=1e-9)
        np.testing.assert_allclose(residuals[i][inside].ravel(), truth, atol=1e-10 * norms[i])
        jacobian = approx_fprime(x[i], residual, 1e-7)
        size = np.linalg.norm(jacobian, axis=0)
        if x[i, 2] < 0.01:  # the model does not depend on n there
            np.testing.assert_array_equal(matrices[i, 2], 0)
            size[2] = 1
        assert np.abs((matrices[i] - jacobian.T @ jacobian) / np.outer(size, size)).max() < 1e-4
        assert np.abs((gradients[i] - jacobian.T @ truth) / (size * norms[i])).max() < 1e-4


@pytest.mark.parametrize("broken", ["start", "psf"])
def test_what_is_not_finite_fails(broken):
    image, start, psf = sersic_model(TRUTH, SHAPE), TRUTH * 1.1, np.repeat(moffat(9)[None], 4, axis=0)
    (start if broken == "start" else psf)[1] = np.nan
    fit = fit_sersic(image, np.ones_like(image), start, psf=psf)
    assert (fit.info == FAILED).tolist() == [False, True, False, False]


@pytest.mark.parametrize("amplitude", [1e25, np.inf, np.nan])
def test_models_do_not_spoil_each_other(amplitude):
    psf, image = moffat(9)[None], sersic_model(TRUTH, SHAPE)
    wild = TRUTH.copy()
    wild[1, 0] = amplitude
    problem = Problem(image, np.ones_like(image), None, psf)
    alone, _ = problem.residual(TRUTH[:1], np.array([0]))
    together, _ = problem.residual(wild, np.arange(4))
    np.testing.assert_allclose(together[0], alone[0], rtol=1e-12)
    assert np.isfinite(together).tolist() == [True, bool(np.isfinite(amplitude)), True, True]


# -- the minimiser


def rosenbrock(x):
    return np.stack([10 * (x[..., 1] - x[..., 0] ** 2), 1 - x[..., 0]], -1)


def rosenbrock_normal(x, _rows, residual):
    jacobian = np.zeros((len(x), 2, 2))
    jacobian[:, 0, 0], jacobian[:, 0, 1], jacobian[:, 1, 0] = -20 * x[:, 0], 10, -1
    return jacobian.mT @ jacobian, (jacobian.mT @ residual[:, :, None])[:, :, 0]


def rosenbrock_residual(x, _rows):
    residual = rosenbrock(x)
    return np.linalg.norm(residual, axis=1), residual


def test_minimiser_takes_minpacks_steps():
    start = np.array([[-1.2, 1.0], [3.0, -2.0], [0.5, 4.0], [1.0, 1.0]])
    fit = levenberg_marquardt(rosenbrock_residual, rosenbrock_normal, start)
    np.testing.assert_allclose(fit.x, 1, atol=1e-7)
    for k, x0 in enumerate(start):
        _, _, details, _, info = leastsq(rosenbrock, x0, full_output=True)
        assert (fit.calls[k], fit.info[k]) == (details["nfev"], info)


def test_what_is_not_finite_fails_alone():
    def residual(x, rows):
        norm, values = rosenbrock_residual(x, rows)
        return np.where(rows == 1, np.nan, norm), values

    fit = levenberg_marquardt(residual, rosenbrock_normal, np.array([[-1.2, 1.0], [0.0, 0.0]]))
    assert fit.info[1] == FAILED
    np.testing.assert_allclose(fit.x[0], 1, atol=1e-7)
