"""Residuals and normal equations of Sersic models in torch, of many galaxies at once."""

import math

import torch
from scipy.special import gammaincinv

__all__ = ["SMALLEST_N", "Convolution", "Problem", "concentration"]

SMALLEST_N = 0.01  # statmorph's bound
CHUNK = 1 << 16  # pixels of galaxies at a time on a CPU: what its caches hold
FLOAT_SUM = 512  # pixels over which products are summed in float32, before they are in float64
SIDE = 16  # transforms have a multiple of this number of pixels along each side: those are quick

DARK = 1e-300  # less than any image has where it has light


class Problem:
    """Images, weights and PSFs of the galaxies of a batch, and the residuals and normal equations of some of them."""

    def __init__(self, image, weight, frame, psf):
        self.image, self.weight, self.rough_weight = image, weight, weight.float()
        self.frame = None if frame is None or bool(frame.all()) else frame
        self.psf = None if psf is None else Convolution(psf.to(image.dtype), image.shape[1:])
        self.y, self.x = (torch.arange(n, device=image.device, dtype=image.dtype) for n in image.shape[1:])

    def model(self, parameters, rows):
        """Models of some galaxies."""
        profile = _Profile(parameters, self.x, self.y).flux
        if self.frame is not None:
            profile = profile * self.frame[rows]
        return profile if self.psf is None else self.psf(profile, rows)

    def residual(self, parameters, rows):
        """Norm of the residuals, and the residuals, over the pixels' standard deviation."""
        residual = self.image.new_empty(len(rows), *self.image.shape[1:])
        for out, part, chosen in self._split(rows, residual, parameters, rows):
            torch.sub(self.model(part, chosen), self.image[chosen], out=out)
            out *= self.weight[chosen]
        return residual.flatten(1).norm(dim=1), residual

    def normal(self, parameters, rows, residual):
        """J^T J and J^T r."""
        products = torch.cat([self._products(*part) for part in self._split(rows, parameters, rows, residual)])
        return products[:, :-1, :-1], products[:, :-1, -1]

    def _split(self, rows, *tensors):
        """Parts of few galaxies."""
        few = len(rows) if rows.is_cuda else max(CHUNK // self.image[0].numel(), 1)
        return zip(*(t.split(few) for t in tensors), strict=True)

    def _products(self, parameters, rows, residual):
        """Products of the columns of the Jacobian, and of the residuals after them, with each other."""
        table = torch.empty(len(rows), parameters.shape[1] + 1, *residual.shape[1:], device=residual.device)
        # The model is proportional to the amplitude, so this column is known.
        amplitude = parameters[:, 0, None, None]
        amplitude = torch.where(amplitude == 0, 1.0, amplitude)
        table[:, 0] = torch.addcmul(residual, self.weight[rows], self.image[rows]).div_(amplitude)
        table[:, -1] = residual
        columns, weight = table[:, 1:-1].unbind(1), self.rough_weight[rows]
        canvas, drawn = (
            (None, columns) if self.psf is None else self.psf.canvas(len(rows), len(columns) // 2, table.dtype)
        )
        _Profile(parameters.float(), self.x.float(), self.y.float()).derivatives(drawn)
        if self.frame is not None:
            frame = self.frame[rows]
            drawn = [column.mul_(frame) for column in drawn]
        drawn = drawn if self.psf is None else self.psf.planes(canvas, rows)
        for column, out in zip(drawn, columns, strict=True):
            torch.mul(column, weight, out=out)
        columns[1].mul_((parameters[:, 2] >= SMALLEST_N)[:, None, None])  # a transform leaves traces of its other part
        parts = table.flatten(2).split(FLOAT_SUM, 2)
        return sum((part @ part.mT).double() for part in parts)


class _Profile:
    """Sersic profiles at the centres of pixels; dtype is that of the parameters."""

    def __init__(self, parameters, x, y):
        self.amplitude, self.radius, n, xc, yc, ellip, theta = parameters[:, :, None, None].unbind(1)
        self.free, self.n, self.rest = n >= SMALLEST_N, n.clamp(min=SMALLEST_N), 1 - ellip
        self.b, self.slope = concentration(self.n)
        self.cos, self.sin = torch.cos(theta), torch.sin(theta)
        dx, dy, self.axis = x - xc, y[:, None] - yc, self.radius * self.rest
        # In units of the ellipse's axes.
        self.major = dx * (self.cos / self.radius) + dy * (self.sin / self.radius)
        self.minor = dy * (self.cos / self.axis) - dx * (self.sin / self.axis)
        self.square = torch.addcmul(self.major * self.major, self.minor, self.minor)
        self.log = torch.log(self.square)
        self.power = torch.exp(self.log * (0.5 / self.n))
        self.flux = (self.power * -self.b).add_(self.b).exp_().mul_(self.amplitude)

    def derivatives(self, out):
        """By half-light radius, n, centre, ellipticity and angle, each into one of six ``[N, H, W]``."""
        # Where the power is larger there is no flux, and 0 times infinity is not a number.
        power = self.power.clamp(max=1e30)
        steep = self.flux * power
        near = steep * (self.b / self.n) / self.square.clamp(min=1e-20)
        along, across = near * self.major, near * self.minor
        torch.mul(steep, self.b / (self.n * self.radius), out=out[0])
        # In the very centre log and power are -inf and 0, and their product, which tends to 0, is not a number.
        shape = steep * self.log.clamp(min=-80)
        shape *= 0.5 * self.b / self.n**2 * self.free
        torch.sub(shape, (power - 1).mul_(self.flux).mul_(self.slope * self.free), out=out[1])
        cos, sin = (t / self.radius for t in (self.cos, self.sin)), (t / self.axis for t in (self.cos, self.sin))
        (cos_along, sin_along), (cos_across, sin_across) = cos, sin
        torch.sub(along * cos_along, across * sin_across, out=out[2])
        torch.add(along * sin_along, across * cos_across, out=out[3])
        torch.mul(across * self.minor, -1 / self.rest, out=out[4])
        torch.mul(across * self.major, 1 / self.rest - self.rest, out=out[5])


def concentration(n, *, slope=True):
    """
    Return b, with which half of a profile's light is within its half-light radius, and its derivative by n.

    Parameters
    ----------
    n : `torch.Tensor`
        Sersic indices.
    slope : bool, optional
        The derivative, too?

    Returns
    -------
    `torch.Tensor` or tuple of it
        Of the shape of ``n``.
    """
    step = 1e-4
    values = n.detach().double().cpu().numpy()
    found = [gammaincinv(2 * values * factor, 0.5) for factor in ((1, 1 + step, 1 - step) if slope else (1,))]
    b = torch.from_numpy(found[0]).to(n)
    return (b, torch.from_numpy((found[1] - found[2]) / (2 * step * values)).to(n)) if slope else b


class Convolution:
    """
    Convolution with PSFs, ``same`` as the image, as `scipy.signal.fftconvolve` does it.

    Two real images make one complex one, which a real PSF leaves apart: less than half the time of two real transforms.

    Parameters
    ----------
    psf : `torch.Tensor`
        ``[N, k, k]``, or ``[1, k, k]`` for all galaxies.
    shape : tuple of int
        ``(H, W)`` of the images.
    """

    def __init__(self, psf, shape):
        self.shape, self.start = shape, [(k - 1) // 2 for k in psf.shape[1:]]
        # Light may come round at the edges as long as it stays out of the part that is kept.
        least = [n + k - 1 - s for n, k, s in zip(shape, psf.shape[1:], self.start, strict=True)]
        self.size = [math.ceil(n / SIDE) * SIDE for n in least]
        psf = psf / psf.sum((1, 2), keepdim=True)
        self.transform = {torch.float64: torch.fft.fft2(_folded(psf, self.size))}
        self.transform[torch.float32] = self.transform[torch.float64].to(torch.complex64)
        self.shared = len(psf) == 1

    def __call__(self, images, rows):
        """Convolve ``[n, H, W]`` of the galaxies ``rows``."""
        pair = 2 if self.shared and len(images) % 2 == 0 else 1
        canvas, planes = self.canvas(len(images) // pair, 1, images.dtype)
        # Rounding is relative to the brighter of two: so both are made as bright, and no one spoils the other.
        scale = images.abs().amax((1, 2), keepdim=True)
        images = torch.where(torch.isfinite(scale), images / scale.clamp(min=DARK), 0.0)
        for k in range(pair):
            planes[k].copy_(images[k::pair])
        return torch.stack(self.planes(canvas, rows)[:pair], 1).flatten(0, 1) * scale

    def canvas(self, number, pairs, dtype):
        """Complex zeros to be convolved, and the real and imaginary planes, ``[n, H, W]``, to draw on before."""
        dtype = torch.promote_types(dtype, torch.complex64)
        device = self.transform[torch.float32].device
        canvas = torch.zeros(number, pairs, *self.size, dtype=dtype, device=device)
        return canvas, self._planes(canvas, 0, 0)

    def convolved(self, canvas, rows):
        """Convolve a canvas with the PSFs of some galaxies; the images are at ``start`` then."""
        transform = self.transform[canvas.real.dtype]
        transform = transform if self.shared else transform[rows]
        return torch.fft.ifft2(torch.fft.fft2(canvas).mul_(transform[:, None]))

    def planes(self, canvas, rows):
        """Real and imaginary planes of a canvas, convolved."""
        return self._planes(self.convolved(canvas, rows), *self.start)

    def _planes(self, canvas, y, x):
        height, width = self.shape
        part = torch.view_as_real(canvas)[:, :, y : y + height, x : x + width]
        return [part[:, k, :, :, c] for k in range(canvas.shape[1]) for c in (0, 1)]


def _folded(psf, size):
    """A PSF on the pixels of the transform; one that is larger is wrapped around."""
    height, width = psf.shape[1:]
    padded = torch.nn.functional.pad(psf, (0, -width % size[1], 0, -height % size[0]))
    return padded.view(len(psf), -1, size[0], padded.shape[2] // size[1], size[1]).sum((1, 3))
