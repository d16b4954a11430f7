"""
Sersic models of many galaxies at once, as statmorph fits them with astropy: the same model, first guess and path.

Pixels have the value at their centre, and the PSF is convolved with the model within the cutout, as
``statmorph.ConvolvedSersic2D`` does it. Residuals are in float64; the Jacobian, of analytic derivatives, in float32.
"""

import math

import torch
from scipy.fft import next_fast_len
from scipy.special import gammaincinv

from .minpack import FAILED, levenberg_marquardt
from .stamps import BAD, CATASTROPHIC, SUSPECT

__all__ = ["PARAMETERS", "fit_sersic", "measure_sersic", "sersic_model"]

PARAMETERS = "amplitude", "rhalf", "n", "xc", "yc", "ellip", "theta"
ANNULUS = 1.0  # statmorph's annulus_width
SMALLEST_N = 0.01  # statmorph's bound
CALLS, X_TOLERANCE = 500, 1e-5  # statmorph's maxiter and acc
GUESS = 1.0, 3.5  # range of the first guess of n
CHUNK = 1 << 16  # pixels of a Jacobian at a time on a CPU: what its caches hold


def measure_sersic(stamps, geometry, values, psf=None):
    """
    Fit Sersic models.

    Parameters
    ----------
    stamps : `~astro_galtrans.diagnostics.morphology.stamps.Stamps`
        The galaxies.
    geometry : `~astro_galtrans.diagnostics.morphology.core.Geometry`
        Centres of least asymmetry, shape about them and sky.
    values : dict of str to `torch.Tensor`
        ``concentration`` and ``rhalf_ellip``, ``[N]``.
    psf : `torch.Tensor`, optional
        ``[N, k, k]`` or ``[1, k, k]``.

    Returns
    -------
    dict of str to `torch.Tensor`
        ``sersic_`` and the names of `PARAMETERS`, chi2_dof, aic, bic, and ``flag_sersic``, ``[N]``.
    """
    start, flag = first_guess(stamps, geometry, values)
    sigma = stamps.weightmap(geometry.sky.sigma.nan_to_num(0.0))
    used = (stamps.image != 0) & (sigma != 0)
    weight = torch.where(used, 1 / torch.where(used, sigma, 1.0), 0.0)
    number = used.sum((1, 2))
    enough = (number > len(PARAMETERS)) & torch.isfinite(start).all(1)
    rows = torch.nonzero(enough).ravel()
    x, chi2 = start.clone(), torch.full_like(start[:, 0], torch.nan)
    flag = torch.where(enough, flag, torch.where(torch.isfinite(start).all(1), BAD, CATASTROPHIC))
    if len(rows):
        mine = psf if psf is None or len(psf) == 1 else psf[rows]
        fit = fit_sersic(stamps.image[rows], weight[rows], start[rows], frame=stamps.frame[rows], psf=mine)
        x[rows], chi2[rows] = fit.x, fit.norm**2
        flag[rows] = torch.maximum(flag[rows], _flag(fit))
    x[flag == CATASTROPHIC] = torch.nan
    chi2[flag == CATASTROPHIC] = torch.nan
    return _columns(x, chi2, number, stamps) | {"flag_sersic": flag}


def _flag(fit):
    """Flag as statmorph does: 1 if n is at its bound, 2 if the fit did not converge, 4 if astropy would give up."""
    flag = torch.where(fit.x[:, 2] <= SMALLEST_N, SUSPECT, 0)
    flag = torch.where((fit.info < 1) | (fit.info > 4), BAD, flag)
    return torch.where(fit.info == FAILED, CATASTROPHIC, flag)


def _columns(x, chi2, number, stamps):
    amplitude, radius, n, xc, yc, ellip, theta = x.unbind(1)
    radius, ellip, theta = _fixed(radius, ellip, theta)
    free = len(PARAMETERS)
    columns = dict(zip(PARAMETERS, (amplitude, radius, n), strict=False))
    columns |= {"xc": xc + stamps.xmin, "yc": yc + stamps.ymin, "ellip": ellip}
    columns |= {"theta": theta - torch.floor(theta / math.pi) * math.pi, "chi2_dof": chi2 / (number - free)}
    spread = number * torch.log(chi2 / number)
    small = torch.where(number < 40 * free, 2 * free * (free + 1) / (number - free - 1), 0.0)  # Cavanaugh (1997)
    columns |= {"aic": spread + 2 * free + small, "bic": spread + free * torch.log(number)}
    return {f"sersic_{name}": value for name, value in columns.items()}


def _fixed(radius, ellip, theta):
    """The same ellipse with a positive semimajor axis and an ellipticity from 0 to 1 (statmorph's _postfitting_fix)."""
    radius, ellip = radius.abs(), torch.where(ellip > 1, 2 - ellip, ellip)
    swap = ellip < 0
    radius = torch.where(swap, (1 - ellip) * radius, radius)
    theta = torch.where(swap, theta + math.pi / 2, theta)
    return radius, torch.where(swap, ellip / (ellip - 1), ellip), theta


def first_guess(stamps, geometry, values):
    """
    Guess the parameters as statmorph does.

    Parameters
    ----------
    stamps, geometry, values
        As in `measure_sersic`.

    Returns
    -------
    start : `torch.Tensor`
        ``[N, 7]``, float64.
    flag : `torch.Tensor`
        ``[N]``, int64: 2 where the half-light radius is less than half a pixel, or the flux there is not positive.
    """
    n = (10**-1.5 * values["concentration"] ** 3.5).clamp(*GUESS)
    radius, ellip = values["rhalf_ellip"], geometry.ellipticity
    inner, outer = radius - ANNULUS / 2, radius + ANNULUS / 2
    small = inner < 0
    inner = torch.where(small, radius, inner)
    rings = torch.stack([outer, inner], 1)
    every = torch.arange(len(stamps), device=radius.device)
    flux, area = (
        of(geometry.ellipses, rings, every).diff(dim=1)[:, 0] for of in (geometry.light.flux, geometry.light.area)
    )
    amplitude = torch.where(area < -1e-9, flux / area, 0.0)
    flag = torch.where(small | (amplitude <= 0), BAD, 0)
    start = [amplitude.abs(), radius, n, geometry.x, geometry.y, ellip, geometry.theta]
    return torch.stack(start, 1), flag


def fit_sersic(image, weight, start, *, frame=None, psf=None):
    """
    Fit Sersic models by Levenberg-Marquardt, as astropy's ``LevMarLSQFitter`` would.

    Parameters
    ----------
    image : `torch.Tensor`
        ``[N, H, W]``, float64.
    weight : `torch.Tensor`
        ``[N, H, W]``: one over the standard deviation, 0 for pixels to ignore.
    start : `torch.Tensor`
        ``[N, 7]``: `PARAMETERS`, angle in radians.
    frame : `torch.Tensor`, optional
        ``[N, H, W]``, bool: where the model exists; light beyond is not convolved into it.
    psf : `torch.Tensor`, optional
        ``[N, k, k]`` or ``[1, k, k]``; it is normalised.

    Returns
    -------
    `~astro_galtrans.diagnostics.morphology.minpack.Fit`
        Its ``x`` are the parameters, ``norm**2`` is chi2.
    """
    problem = _Problem(image, weight, frame, psf)
    fit = levenberg_marquardt(problem.residual, problem.normal, start, x_tolerance=X_TOLERANCE, calls=CALLS)
    fit.x[:, 2].clamp_(min=SMALLEST_N)  # the function is constant below, so steps may end there
    return fit


def sersic_model(parameters, shape, *, psf=None):
    """
    Draw Sersic models (`astropy.modeling.models.Sersic2D`).

    Parameters
    ----------
    parameters : `torch.Tensor`
        ``[N, 7]``: `PARAMETERS`.
    shape : tuple of int
        ``(H, W)``.
    psf : `torch.Tensor`, optional
        ``[N, k, k]`` or ``[1, k, k]``.

    Returns
    -------
    `torch.Tensor`
        ``[N, H, W]``.
    """
    image = torch.zeros(len(parameters), *shape, dtype=parameters.dtype, device=parameters.device)
    problem = _Problem(image, image, None, psf)
    return problem.model(parameters, torch.arange(len(parameters), device=parameters.device))


class _Problem:
    """Images, weights and PSFs of the galaxies of a batch, and the residuals and normal equations of some of them."""

    def __init__(self, image, weight, frame, psf):
        self.image, self.weight = image, weight
        self.frame = None if frame is None or bool(frame.all()) else frame
        self.psf = None if psf is None else _Convolution(psf.to(image.dtype), image.shape[1:])
        self.y, self.x = (torch.arange(n, device=image.device, dtype=image.dtype) for n in image.shape[1:])

    def model(self, parameters, rows):
        profile = _Profile(parameters, self.x, self.y).flux
        if self.frame is not None:
            profile = profile * self.frame[rows]
        return profile if self.psf is None else self.psf(profile, rows)

    def residual(self, parameters, rows):
        """Norm of the residuals, and the residuals, over the pixels' standard deviation."""
        residual = self.weight[rows] * (self.model(parameters, rows) - self.image[rows])
        return residual.flatten(1).norm(dim=1), residual

    def normal(self, parameters, rows, residual):
        """J^T J and J^T r, a few galaxies at a time."""
        few = len(rows) if rows.is_cuda else max(CHUNK // self.image[0].numel(), 1)
        parts = zip(*(t.split(few) for t in (parameters, rows, residual)), strict=True)
        parts = [self._normal(*part) for part in parts]
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))

    def _normal(self, parameters, rows, residual):
        weight = self.weight[rows]
        profile = _Profile(parameters.float(), self.x.float(), self.y.float())
        columns = profile.derivatives()
        if self.frame is not None:
            columns = columns * self.frame[rows, None]
        if self.psf is not None:
            columns = self.psf(columns, rows)
        columns = columns * weight[:, None]
        # The model is proportional to the amplitude, so this column is known.
        amplitude = parameters[:, 0, None, None]
        first = (residual + weight * self.image[rows]) / torch.where(amplitude == 0, 1.0, amplitude)
        jacobian = torch.cat([first[:, None], columns], 1).flatten(2)
        return jacobian @ jacobian.mT, (jacobian @ residual.flatten(1)[:, :, None])[:, :, 0]


class _Profile:
    """Sersic profiles at the centres of pixels; dtype is that of the parameters."""

    def __init__(self, parameters, x, y):
        self.amplitude, self.radius, n, xc, yc, ellip, theta = parameters[:, :, None, None].unbind(1)
        self.free = n >= SMALLEST_N
        self.n, self.axis = n.clamp(min=SMALLEST_N), self.radius * (1 - ellip)
        self.rest = 1 - ellip
        self.b, self.slope = _concentration(self.n)
        self.cos, self.sin = torch.cos(theta), torch.sin(theta)
        dx, dy = x - xc, y[:, None] - yc
        self.major, self.minor = dx * self.cos + dy * self.sin, dy * self.cos - dx * self.sin
        self.square = (self.major / self.radius) ** 2 + (self.minor / self.axis) ** 2
        self.log = torch.log(self.square)
        self.power = torch.exp(self.log / (2 * self.n))
        self.flux = self.amplitude * torch.exp(-self.b * (self.power - 1))

    def derivatives(self):
        """``[N, 6, H, W]``: by half-light radius, n, centre, ellipticity and angle."""
        power = self.power.clamp(max=1e30)  # where it is larger there is no flux, and 0 times infinity is not a number
        steep = self.flux * power * (self.b / self.n)  # minus the derivative by the logarithm of the radius
        near = steep / self.square.clamp(min=1e-20)
        along, across = near * (self.major / self.radius**2), near * (self.minor / self.axis**2)
        # In the very centre log and power are -inf and 0, and their product, which tends to 0, is not a number.
        shape = 0.5 * steep * self.log.clamp(min=-80) / self.n - self.flux * (power - 1) * self.slope
        columns = [
            steep / self.radius,
            shape * self.free,
            along * self.cos - across * self.sin,
            along * self.sin + across * self.cos,
            -across * self.minor / self.rest,
            across * self.major - along * self.minor,
        ]
        return torch.stack(columns, 1)


def _concentration(n):
    """Return b, with which half of a profile's light is within its half-light radius, and its derivative by n."""
    step = 1e-4
    values = n.detach().double().cpu().numpy()
    found = [gammaincinv(2 * values * factor, 0.5) for factor in (1, 1 + step, 1 - step)]
    slope = (found[1] - found[2]) / (2 * step * values)
    return torch.from_numpy(found[0]).to(n), torch.from_numpy(slope).to(n)


class _Convolution:
    """Convolution with PSFs, ``same`` as the image, as `scipy.signal.fftconvolve` does it."""

    def __init__(self, psf, shape):
        self.shape, self.start = shape, [(k - 1) // 2 for k in psf.shape[1:]]
        # Light may come round at the edges as long as it stays out of the part that is kept.
        self.size = [next_fast_len(n + k - 1 - s) for n, k, s in zip(shape, psf.shape[1:], self.start, strict=True)]
        psf = psf / psf.sum((1, 2), keepdim=True)
        self.transform = {torch.float64: torch.fft.rfft2(_folded(psf, self.size), s=self.size)}
        self.transform[torch.float32] = self.transform[torch.float64].to(torch.complex64)

    def __call__(self, images, rows):
        """Convolve ``[n, H, W]`` or ``[n, K, H, W]`` of the galaxies ``rows``."""
        transform = self.transform[images.dtype]
        transform = transform if len(transform) == 1 else transform[rows]
        transform = transform if images.ndim == 3 else transform[:, None]
        wide = torch.fft.irfft2(torch.fft.rfft2(images, s=self.size) * transform, s=self.size)
        (y, x), (height, width) = self.start, self.shape
        return wide[..., y : y + height, x : x + width]


def _folded(psf, size):
    """A PSF larger than the transform, wrapped around; most are smaller and stay as they are."""
    height, width = psf.shape[1:]
    pad = (0, -width % size[1], 0, -height % size[0])
    padded = torch.nn.functional.pad(psf, pad)
    return padded.view(len(psf), -1, size[0], padded.shape[2] // size[1], size[1]).sum((1, 3))
