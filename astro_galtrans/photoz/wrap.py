"""Any function of the user's as an estimator: a published network, or a template-fitting code."""

import numpy as np

from astro_galtrans._columns import name_rows
from astro_galtrans.photoz.pdfs import GridPDF

from .density import training_prior

__all__ = ["WrappedEstimator", "wrap"]


def wrap(function, grid=None, *, prior=None, width=None, name=None, takes_ebv=False, batch_size=256):
    """
    Make a `WrappedEstimator` of a function from images to PDFs or to redshifts.

    Parameters
    ----------
    function : callable
        Takes images, float ``[n, C, H, W]``, and returns a `~astro_galtrans.photoz.pdfs.GridPDF`, densities
        ``[n, K]`` on the grid, or redshifts ``[n]``.
    grid : array-like
        ``[K]``: redshifts of the PDFs.
    prior : `~astro_galtrans.photoz.pdfs.GridPDF` or array-like, optional
        Distribution of redshift in what the function was trained on, as a PDF or as the redshifts themselves, for
        information; uniform by default.
    width : float, optional
        For a function that returns redshifts: the PDF is a Gaussian around z of standard deviation
        ``width * (1 + z)``, cut at the ends of the grid.
    name : str, optional
        What to call it; the function's name by default.
    takes_ebv : bool, optional
        Whether the function takes E(B-V) as a second argument.
    batch_size : int, optional
        Images given to the function at once.

    Raises
    ------
    ValueError
        If there is neither a grid nor a prior that has one, or the width is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans import photoz
    >>> judge = photoz.wrap(lambda images: 0.1 * images.mean(axis=(1, 2, 3)), np.linspace(0, 1, 101), width=0.03)
    >>> judge.predict(np.full((2, 5, 8, 8), 4.0)).median().round(2).tolist()
    [0.4, 0.4]
    """
    if grid is None and isinstance(prior, GridPDF):
        grid = prior.z
    if grid is None:
        msg = "a redshift grid is needed: wrap(function, grid)"
        raise ValueError(msg)
    if width is not None and not width > 0:
        msg = f"the width of a PDF must be positive, got {width!r}"
        raise ValueError(msg)
    grid = np.asarray(grid, dtype=float)
    if prior is None:
        prior = GridPDF.normalised(grid, np.ones_like(grid))
    elif not isinstance(prior, GridPDF):
        prior = training_prior(prior, grid)
    elif len(prior) != 1 or not np.array_equal(prior.z, grid):
        msg = f"the prior must be one PDF on the grid, got {prior!r}"
        raise ValueError(msg)
    name = name or getattr(function, "__name__", type(function).__name__)
    return WrappedEstimator(function, prior, width, name, takes_ebv, batch_size)


class WrappedEstimator:
    """
    A function as an estimator; made by `wrap`, which says what its attributes are.

    Examples
    --------
    >>> import numpy as np
    >>> from astro_galtrans import photoz
    >>> def brightness(images):
    ...     return 0.1 * images.mean(axis=(1, 2, 3))
    >>> judge = photoz.wrap(brightness, np.linspace(0, 1, 101), width=0.03)
    >>> judge
    <WrappedEstimator 'brightness'>
    >>> judge.predict_points(np.full((2, 5, 8, 8), 4.0)).tolist()
    [0.4, 0.4]
    """

    def __init__(self, function, prior, width, name, takes_ebv, batch_size):
        self.function, self.prior, self.width, self.name = function, prior, width, name
        self.takes_ebv, self.batch_size = takes_ebv, batch_size

    def __repr__(self):
        return f"<WrappedEstimator {self.name!r}>"

    @property
    def grid(self):
        """Redshifts at which PDFs are given, ``[K]``."""
        return self.prior.z

    def predict(self, images, *, ebv=None):
        """
        Return the redshift PDF of each stamp, a `~astro_galtrans.photoz.pdfs.GridPDF`.

        Parameters
        ----------
        images : array-like
            ``[N, C, H, W]``.
        ebv : array-like, optional
            ``[N]``: Galactic reddening E(B-V); passed on if the function takes it.

        Raises
        ------
        ValueError
            If the function's answer is not one PDF or redshift per image, or is no PDF; the message names the rows.
        """
        parts = [self._pdf(answer, rows, len(images)) for rows, answer in self._answers(images, ebv)]
        return GridPDF(self.grid, np.concatenate(parts or [np.empty((0, len(self.grid)))]))

    def predict_points(self, images, *, ebv=None):
        """
        Return one redshift per stamp, ``[N]``: what the function says, or the median of its PDFs. Arguments are those
        of `predict`.
        """
        answers = [np.asarray(getattr(a, "density", a), float) for _, a in self._answers(images, ebv)]
        if all(answer.ndim == 1 for answer in answers):
            return np.concatenate(answers or [np.empty(0)])
        return GridPDF(self.grid, np.concatenate(answers)).median()

    def _answers(self, images, ebv):
        if self.takes_ebv and (ebv is None or len(ebv) != len(images)):
            got = "none" if ebv is None else len(ebv)
            msg = f"{self.name} takes E(B-V): {len(images)} images need as many numbers, got {got}"
            raise ValueError(msg)
        for start in range(0, len(images), self.batch_size):
            rows = slice(start, min(start + self.batch_size, len(images)))
            batch = np.asarray(images[rows])
            answer = self.function(batch, np.asarray(ebv[rows])) if self.takes_ebv else self.function(batch)
            if len(answer) != len(batch):
                msg = f"{self.name} gave {len(answer)} answers for {len(batch)} images, from row {start}"
                raise ValueError(msg)
            yield rows, answer

    def _pdf(self, answer, rows, number):
        """Densities ``[n, K]`` on the grid."""
        if isinstance(answer, GridPDF):
            if not np.array_equal(answer.z, self.grid):
                msg = f"{self.name} gave PDFs on another grid: {answer!r}; wrap it with that grid"
                raise ValueError(msg)
            return answer.density
        answer = np.asarray(answer, dtype=float)
        if answer.ndim == 1:
            answer = self._kernel(answer, rows, number)
        if answer.shape[1:] != self.grid.shape:
            msg = f"{self.name} gave answers of shape {answer.shape}; expected [n, {len(self.grid)}] or [n]"
            raise ValueError(msg)
        with np.errstate(invalid="ignore"):
            norm = np.trapezoid(answer, self.grid, axis=1)
            wrong = ~((answer >= 0).all(axis=1) & (np.abs(norm - 1) < 1e-3))
        self._refuse(wrong, rows, number, "PDFs that are negative, not finite or do not integrate to 1")
        return answer

    def _kernel(self, z, rows, number):
        """Gaussians around redshifts ``[n]``, cut at the ends of the grid, ``[n, K]``."""
        if self.width is None:
            msg = f"{self.name} gives redshifts, not PDFs: give wrap a width, or use predict_points"
            raise ValueError(msg)
        wrong = ~((z >= self.grid[0]) & (z <= self.grid[-1]))  # NaN too
        limits = f"{self.grid[0]:g} to {self.grid[-1]:g}"
        self._refuse(wrong, rows, number, f"redshifts that are missing or outside {limits}")
        # a kernel narrower than the grid would fall between its points
        sigma = np.maximum(self.width * (1 + z), np.diff(self.grid).max())[:, None]
        density = np.exp(-0.5 * ((self.grid - z[:, None]) / sigma) ** 2)
        return density / np.trapezoid(density, self.grid, axis=1)[:, None]

    def _refuse(self, wrong, rows, number, what):
        if wrong.any():
            where = np.zeros(number, bool)
            where[rows] = wrong
            msg = f"{self.name} gave {what}: {name_rows(where)}"
            raise ValueError(msg)
