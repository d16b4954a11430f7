"""
What an estimator is: images in, one PDF of redshift per galaxy out; the trained ones, and any function of the user's.

An estimator has a ``name``, a redshift ``grid`` ``[K]``, the ``prior`` (distribution of redshift in its training
sample, a `~astro_galtrans.photoz.pdfs.GridPDF` with one row) and ``predict(images, *, ebv=None)``, which gives a
`~astro_galtrans.photoz.pdfs.GridPDF`. Diagnostics ask for nothing else.
"""

import numpy as np
import torch

from astro_galtrans._columns import name_rows, same_length
from astro_galtrans.exceptions import CheckpointError
from astro_galtrans.photoz.pdfs import GridPDF

from .data import checked_images, measured, read, scaled, with_extra
from .density import blend, log_density
from .features import Photometry, magnitude_features
from .files import read_file, write_file
from .network import DenseNetwork, InceptionNetwork
from .task import dihedral

__all__ = ["ImageEstimator", "MagnitudeEstimator", "NetworkEstimator", "PhotometricEstimator", "checked_ebv", "load"]


class NetworkEstimator:
    """
    Networks trained to give redshift PDFs, and their card; made by training functions or by `load`.

    Parameters
    ----------
    networks : list of `torch.nn.Module`
        One, or the members of an ensemble, whose PDFs are averaged.
    card : dict
        What they are: see `~astro_galtrans.photoz.files`.
    """

    kind = ""  #: what a card says of the class
    network_class = DenseNetwork

    def __init__(self, networks, card):
        # in the memory layout of the training, so that a file's estimator answers as the trained one does, to the bit
        self.networks = [network.eval().to(memory_format=torch.channels_last) for network in networks]
        self.card = card
        self.prior = GridPDF.normalised(card["grid"], card["prior"])

    def __repr__(self):
        n, bands = self.card["training"]["galaxies"], "".join(self.bands)
        return f"<{type(self).__name__} {self.name!r}: {bands}, {len(self.networks)} member(s), {n} galaxies>"

    @property
    def name(self):
        """Name of the estimator."""
        return self.card["name"]

    @property
    def bands(self):
        """Names of the bands it looks at."""
        return tuple(self.card["bands"])

    @property
    def grid(self):
        """Redshifts at which PDFs are given, ``[K]``."""
        return self.prior.z

    def save(self, path):
        """
        Write the estimator to a safetensors file, whole or not at all.

        Parameters
        ----------
        path : path-like
            The file; replaced if it exists.
        """
        tensors = {f"{k}.{name}": t for k, each in enumerate(self.networks) for name, t in each.state_dict().items()}
        self.card = write_file(path, tensors, self.card)

    @classmethod
    def from_parts(cls, tensors, card):
        """
        Rebuild an estimator from the weights and the card of its file.

        Parameters
        ----------
        tensors : dict of str to `torch.Tensor`
        card : dict
        """
        networks = []
        for k in range(card["members"]):
            with torch.random.fork_rng(devices=[]):  # initial weights are thrown away: the random state stays
                network = cls.network_class(**card["network"], grid=card["grid"])
            start = f"{k}."
            network.load_state_dict({n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)})
            networks.append(network)
        return cls(networks, card)

    def _reddening(self, ebv, number):
        """E(B-V) as a column, where the networks were trained with it."""
        if not self.card["uses_ebv"]:
            return None  # given or not: what was learnt without it needs none
        if ebv is None:
            msg = f"the estimator {self.name!r} was trained with E(B-V); give ebv, one number per galaxy"
            raise ValueError(msg)
        return checked_ebv(ebv, number)[:, None]

    @torch.inference_mode()
    def _density(self, *inputs, views=1):
        """Mean calibrated density of the members, float64 ``[n, K]``."""
        total = 0.0
        for network, (temperature, floor) in zip(self.networks, self.card["calibration"], strict=True):
            grid, log_prior = network.head.grid, torch.tensor(self.prior.density[0], dtype=torch.float32).log()
            stamps, *others = inputs
            seen = [log_density(network(dihedral(stamps, k), *others), grid) for k in range(views)]
            log_f = torch.stack(seen).mean(dim=0)
            total = total + blend(log_f, log_prior, grid, temperature, floor).double().exp()
        return (total / len(self.networks)).numpy()


class _StampEstimator(NetworkEstimator):
    """What looks at stamps."""

    def __init__(self, networks, card):
        super().__init__(networks, card)
        self.photometry = Photometry.from_dict(card["photometry"])

    @property
    def pixel_scale(self):
        """Size of a pixel (arcsec) of the images it was trained on."""
        return self.photometry.pixel_scale

    def predict(self, images, *, ebv=None, bands=None, pixel_scale=None, batch_size=256):
        """
        Return the redshift PDF of each stamp.

        Parameters
        ----------
        images : array-like
            ``[N, C, H, W]``: stamps with the galaxy in the middle, in the flux unit and pixel scale of the training.
        ebv : array-like, optional
            ``[N]``: Galactic reddening E(B-V) in mag, for an estimator that was trained with it.
        bands, pixel_scale : optional
            What the images are; an error if the estimator is for others.
        batch_size : int, optional
            Stamps looked at together.

        Returns
        -------
        `~astro_galtrans.photoz.pdfs.GridPDF`

        Raises
        ------
        ValueError
            If bands, pixel scale, size or number of the images do not fit.
        """
        density = np.empty((len(images), len(self.grid)))
        parts = self.predict_batches(images, ebv=ebv, bands=bands, pixel_scale=pixel_scale, batch_size=batch_size)
        for rows, pdfs in parts:
            density[rows] = pdfs.density
        return GridPDF.normalised(self.grid, density)

    def predict_batches(self, images, *, ebv=None, bands=None, pixel_scale=None, batch_size=256):
        """
        Yield slices of rows and their PDFs, for more galaxies than PDFs fit in memory.

        Parameters
        ----------
        images, ebv, bands, pixel_scale, batch_size
            As for `predict`.

        Yields
        ------
        slice
            Which stamps.
        `~astro_galtrans.photoz.pdfs.GridPDF`
            Their PDFs.
        """
        self._check(bands, pixel_scale)
        images = checked_images(images, self.bands, self.photometry.size)
        ebv = self._reddening(ebv, len(images))
        for rows, stamps in read(images, self.photometry.size, batch_size):
            yield rows, GridPDF.normalised(self.grid, self._look(stamps, None if ebv is None else ebv[rows]))

    def _check(self, bands, pixel_scale):
        if bands is not None and tuple(bands) != self.bands:
            msg = f"the estimator {self.name!r} is for bands {', '.join(self.bands)}, got {', '.join(bands)}"
            raise ValueError(msg)
        if pixel_scale is not None and not np.isclose(pixel_scale, self.pixel_scale, rtol=0.01):
            msg = f'the estimator {self.name!r} is for pixels of {self.pixel_scale:.4g}", got {pixel_scale:.4g}"'
            raise ValueError(msg)


class PhotometricEstimator(_StampEstimator):
    """Redshift PDFs from fluxes in stamps; see `~astro_galtrans.photoz.train_photometric`."""

    kind = "photometric"

    def _look(self, stamps, extra):
        features = self.photometry.features(self.photometry.fluxes(stamps), self.card["features"])
        return self._density(with_extra(features, extra))


class ImageEstimator(_StampEstimator):
    """Redshift PDFs from stamps; see `~astro_galtrans.photoz.train_image`."""

    kind = "image"
    network_class = InceptionNetwork
    views = 1  #: orientations of each stamp that are looked at and averaged, up to 8

    def _look(self, stamps, extra):
        features = with_extra(measured(stamps, self.photometry), extra)
        return self._density(scaled(stamps, self.photometry.sky_rms).float(), features, views=self.views)


class MagnitudeEstimator(NetworkEstimator):
    """Redshift PDFs from a catalogue's magnitudes; see `~astro_galtrans.photoz.train_magnitudes`."""

    kind = "magnitudes"

    def predict(self, magnitudes, *, errors=None, ebv=None):
        """
        Return the redshift PDF of each galaxy.

        Parameters
        ----------
        magnitudes : array-like
            ``[N, C]``: magnitudes, in the bands of the training.
        errors : array-like, optional
            ``[N, C]``: their errors, for an estimator that was trained with them.
        ebv : array-like, optional
            ``[N]``: Galactic reddening E(B-V) in mag, for an estimator that was trained with it.

        Returns
        -------
        `~astro_galtrans.photoz.pdfs.GridPDF`

        Raises
        ------
        ValueError
            If numbers of bands or galaxies do not fit, or values are missing; the message names the rows.
        """
        if (errors is not None) != self.card["uses_errors"]:
            was = "with" if self.card["uses_errors"] else "without"
            msg = f"the estimator {self.name!r} was trained {was} errors of the magnitudes; predict {was} them too"
            raise ValueError(msg)
        features = magnitude_features(magnitudes, errors, self.bands)
        features = with_extra(features, self._reddening(ebv, len(features)))
        parts = [self._density(part) for part in features.split(4096)]
        return GridPDF.normalised(self.grid, np.concatenate(parts or [np.empty((0, len(self.grid)))]))


def checked_ebv(ebv, number):
    """
    Return E(B-V) as an array of one finite number per galaxy.

    Parameters
    ----------
    ebv : array-like
        ``[N]``, in mag.
    number : int
        How many galaxies there are.

    Raises
    ------
    ValueError
        If there are more or fewer, or some are not finite.
    """
    ebv = np.ma.filled(np.ma.asarray(getattr(ebv, "value", ebv), dtype=float), np.nan)
    same_length(images=range(number), ebv=np.atleast_1d(ebv))
    if not np.isfinite(ebv).all():
        msg = f"E(B-V) is missing in {name_rows(~np.isfinite(ebv))}"
        raise ValueError(msg)
    return ebv


KINDS = {each.kind: each for each in (ImageEstimator, PhotometricEstimator, MagnitudeEstimator)}


def load(path):
    """
    Read an estimator from its file.

    Parameters
    ----------
    path : path-like
        A file written by ``save``.

    Returns
    -------
    `ImageEstimator`, `PhotometricEstimator` or `MagnitudeEstimator`

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ~astro_galtrans.exceptions.CheckpointError
        If it is damaged, was edited, or is no file of an estimator.
    """
    tensors, card = read_file(path)
    try:
        return KINDS[card["kind"]].from_parts(tensors, card)
    except (KeyError, TypeError, RuntimeError) as err:
        msg = f"{path} describes an estimator that this installation cannot build: {err}"
        raise CheckpointError(msg) from err
