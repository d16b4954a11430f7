"""Pictures of the translations of a few pairs, by which a training can be followed."""

import warnings

import numpy as np
import torch

from astro_galtrans._files import whole_file
from astro_galtrans.exceptions import GaltransWarning

__all__ = ["draw_samples"]

ROWS = 6
STRETCH = 4.0  # network units from black to white: sky noise and all but the brightest cores are seen
COLUMNS = "source", "prediction", "target", "residual"


@torch.no_grad()
def draw_samples(path, model, batch, title=""):
    """
    Draw source, prediction, target and residual of the first crops of a batch, with one stretch.

    Parameters
    ----------
    path : `~pathlib.Path`
        The PNG file.
    model : `~astro_galtrans.models.base.TranslationModel`
        In evaluation mode.
    batch : `~astro_galtrans.training.data.Batch`
    title : str, optional

    Returns
    -------
    bool
        False if matplotlib, which this needs, is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        text = "no pictures of samples: they need matplotlib (pip install 'astro_galtrans[report]')"
        warnings.warn(text, GaltransWarning, stacklevel=2)
        return False
    rows = _rows(model, batch)
    figure = Figure(figsize=(1.6 * len(COLUMNS), 1.6 * len(rows) + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=8)
    for axes, images in zip(figure.subplots(len(rows), len(COLUMNS), squeeze=False), rows, strict=True):
        for ax, image in zip(axes, images, strict=True):
            ax.imshow(image, origin="lower", cmap="gray", vmin=-STRETCH / 4, vmax=3 * STRETCH / 4)
            ax.set_axis_off()
    for ax, name in zip(figure.axes, COLUMNS, strict=False):
        ax.set_title(name, fontsize=8)
    with whole_file(path) as file:
        figure.savefig(file, dpi=100)
    return True


def _rows(model, batch):
    """Images in network units, of the middle band; the residual in flux, scaled like them."""
    source, target = (part[:ROWS].to(model.device) for part in batch[:2])
    mean = model(source).mean
    residual = torch.arcsinh(torch.sinh(target) - torch.sinh(mean))
    planes = (part[:, part.shape[1] // 2].cpu().numpy() for part in (source, mean, target, residual))
    return [[np.asarray(image) for image in row] for row in zip(*planes, strict=True)]
