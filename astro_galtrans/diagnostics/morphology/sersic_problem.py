"""Residuals and normal equations of Sersic models in torch, of many galaxies at once."""

import torch
from scipy.fft import next_fast_len
from scipy.special import gammaincinv

__all__ = ["SMALLEST_N", "Problem", "concentration"]

SMALLEST_N = 0.01  # statmorph's bound
CHUNK = 1 << 16  # pixels of a Jacobian at a time on a CPU: what its caches hold


class Problem:
    """Images, weights and PSFs of the galaxies of a batch, and the residuals and normal equations of some of them."""

    def __init__(self, image, weight, frame, psf):
        self.image, self.weight = image, weight
        self.frame = None if frame is None or bool(frame.all()) else frame
        self.psf = None if psf is None else _Convolution(psf.to(image.dtype), image.shape[1:])
        self.y, self.x = (torch.arange(n, device=image.device, dtype=image.dtype) for n in image.shape[1:])

    def model(self, parameters, rows):
        """Models of some galaxies."""
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
        self.b, self.slope = concentration(self.n)
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


def concentration(n):
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
