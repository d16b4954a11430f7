r"""
Flux scaling: survey flux per pixel to the units networks work in, and back.

Networks see asinh magnitudes (Lupton, Gunn & Szalay 1999, AJ 118, 1406), linear near the sky and logarithmic in
bright cores: :math:`u = \operatorname{arcsinh}(f / b)` with one softening flux :math:`b` per band. The softening is
a few times the sky noise, so that blank sky is of order 0.3 and the brightest cores of order 10.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["AsinhScaling"]


@dataclass(frozen=True)
class AsinhScaling:
    """
    Asinh scaling with one softening flux per band.

    Parameters
    ----------
    softening : tuple of float
        Softening flux of each band, in the flux unit of the image (per pixel); positive.

    Raises
    ------
    ValueError
        If a softening is not positive and finite.
    """

    softening: tuple[float, ...]

    def __post_init__(self):
        object.__setattr__(self, "softening", tuple(float(b) for b in self.softening))
        if not self.softening or not all(np.isfinite(b) and b > 0 for b in self.softening):
            msg = f"softening must be positive and finite for every band, got {self.softening}"
            raise ValueError(msg)

    def _column(self, array):
        # [..., C, H, W]: the band axis is the third from the end
        array = np.asarray(array)
        if array.ndim < 3 or array.shape[-3] != len(self.softening):
            msg = f"expected an array of shape (..., {len(self.softening)}, H, W), got {array.shape}"
            raise ValueError(msg)
        return array, np.array(self.softening, dtype=array.dtype).reshape(-1, 1, 1)

    def forward(self, flux):
        """Flux ``(..., C, H, W)`` to network units, same shape and dtype."""
        flux, b = self._column(flux)
        return np.arcsinh(flux / b)

    def inverse(self, scaled):
        """Network units ``(..., C, H, W)`` to flux, same shape and dtype."""
        scaled, b = self._column(scaled)
        return b * np.sinh(scaled)

    def derivative(self, scaled):
        """Return d flux / d network units at ``scaled``, which turns a small standard deviation into one of flux."""
        scaled, b = self._column(scaled)
        return b * np.cosh(scaled)

    def to_dict(self):
        """Return a description that JSON can hold."""
        return {"kind": "asinh", "softening": list(self.softening)}

    @classmethod
    def from_dict(cls, description):
        """
        Rebuild a scaling from `to_dict`.

        Raises
        ------
        ValueError
            If the description is of another kind of scaling.
        """
        if description.get("kind") != "asinh":
            msg = f"unknown flux scaling {description.get('kind')!r}; this version knows 'asinh'"
            raise ValueError(msg)
        return cls(tuple(description["softening"]))
