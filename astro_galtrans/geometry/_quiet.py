"""World coordinates that do not warn where a distortion cannot be inverted."""

from copy import copy

from astropy.wcs import WCS

__all__ = ["quiet"]


class _QuietWCS(WCS):
    """
    A WCS that gives its best solution far outside of the image, where distortions cannot be inverted, without a word.

    Filters of warnings would do that too, but they are shared by all threads of a process.
    """

    def world_to_pixel_values(self, *world_arrays):
        pixel = self.all_world2pix(*world_arrays, 0, quiet=True)
        return pixel[0] if self.pixel_n_dim == 1 else tuple(pixel)


def quiet(wcs):
    """
    Return a WCS that does not warn where the inversion of a distortion does not converge.

    Parameters
    ----------
    wcs : `~astropy.wcs.WCS` or APE 14 WCS
        Others than `~astropy.wcs.WCS`, and those that are quiet, come back as they are.
    """
    if not isinstance(wcs, WCS) or isinstance(wcs, _QuietWCS):
        return wcs
    result = copy(wcs)
    result.__class__ = _QuietWCS
    return result
