"""The levels of fidelity: pixels, photometry, morphology, anomalies; a report of each, and an index of the reports."""

from pathlib import Path

import numpy as np

from astro_galtrans._files import whole_file
from astro_galtrans._optional import require
from astro_galtrans.fidelity.anomaly.measure import anomalies
from astro_galtrans.measure.psf import as_psf, psf_images
from astro_galtrans.units import flux_factor

__all__ = ["LEVELS", "compare_images"]

GALLERY = {"pixel": "rmse", "photometry": "flux_3", "morphology": "gini"}  #: what galleries are sorted by
PSF_RADIUS = 4.0  # arcsec: of the PSFs for Sersic fits
LEVELS = "pixel", "photometry", "morphology", "anomaly"  #: what is measured, in this order


def compare_images(
    images, output, *, levels=LEVELS, morphology=None, anomaly=None, bins=5, resamples=1000, seed=0, take="first",
    progress=True, format="ecsv",  # noqa: A002
):  # fmt: skip
    """
    Measure levels of fidelity and write their reports.

    Parameters
    ----------
    images : `~astro_galtrans.fidelity.files.inputs.Images`
    output : path-like
        Folder.
    levels : sequence of str, optional
        Some of `LEVELS`.
    morphology, anomaly : dict, optional
        More options of these levels.
    bins, resamples, seed, take, progress, format
        As for `fidelity_from_files`.

    Returns
    -------
    dict of str to `~astro_galtrans.fidelity.result.Result`
    """
    shared = dict(bins=bins, resamples=resamples, seed=seed, take=take, by=images.by, progress=progress)
    run = {
        "pixel": lambda: _pixel(images, shared), "photometry": lambda: _photometry(images, shared),
        "morphology": lambda: _morphology(images, shared, morphology or {}),
        "anomaly": lambda: _anomaly(images, seed=seed, progress=progress, **anomaly or {}),
    }  # fmt: skip
    results, output = {}, Path(output)
    for level in (level for level in LEVELS if level in levels):
        results[level] = run[level]()
        results[level].meta |= images.about
        results[level].report(output / level, format=format, overwrite=True)
        _galleries(output / level, results[level], GALLERY.get(level), images)
        _index(output, results, images)  # after each level: what is done can be looked at
    return results


def _galleries(folder, result, metric, images):
    """Write pictures of the galaxies that each translation did best, as usual and worst by the metric of a level."""
    if metric is None:
        return
    source, target = images.surveys
    known = {"sky_rms": images.target_sky_rms}
    if source.band_names == target.band_names:
        area = (np.shape(images.target[:1])[-1] / np.shape(images.source[:1])[-1]) ** 2
        known |= {"source": images.source, "source_factor": flux_factor(source.zeropoint, target.zeropoint) / area}
    for model, stamps in images.translated.items():
        if not np.isfinite(result.scores(metric, model)).any():
            continue
        figure = result.gallery(metric, images.target, stamps, model=model, **known)
        figure.savefig(folder / f"gallery_{model}.png")


def _imaging(images):
    """What the levels that compare with the target ask for."""
    return dict(
        bands=images.surveys[1].band_names, pixel_scale=images.target_pixel_scale, sky_rms=images.target_sky_rms,
        mask=images.masks[1],
    )  # fmt: skip


def _pixel(images, shared):
    from astro_galtrans.fidelity.pixel.measure import pixel_fidelity

    return pixel_fidelity(images.target, images.translated, variance=images.variances[1], **_imaging(images), **shared)


def _photometry(images, shared):
    from astro_galtrans.fidelity.photometry import photometry_fidelity

    return photometry_fidelity(images.target, images.translated, **_imaging(images), **shared)


def _morphology(images, shared, options):
    from astro_galtrans.fidelity.morphology import morphology_fidelity

    survey, pixel = images.surveys[1], images.target_pixel_scale
    own = {"magnitude", "size"}  # which it measures itself
    by = {name: values for name, values in images.by.items() if name not in own}
    psf = as_psf(images.target_psf, len(images), survey.band_names, pixel, "target_psf")
    known = {
        "variance": images.variances[1], "gain": [band.electrons for band in survey.bands],
        "zeropoint": survey.zeropoint, "psf": list(psf_images(psf, pixel, 2 * round(PSF_RADIUS / pixel) + 1)),
    }  # fmt: skip
    if not np.isfinite(known["gain"]).all():
        known.pop("gain")
    return morphology_fidelity(
        images.target, images.translated, **_imaging(images), **shared | {"by": by}, **known | options
    )


def _anomaly(images, **options):
    source, target = images.surveys
    shape = np.shape(images.source[:1])[-2:]
    return anomalies(
        images.source, images.translated, target=images.target, bands=source.band_names, target_bands=target.band_names,
        pixel_scale=images.target_pixel_scale * np.shape(images.target[:1])[-1] / shape[-1],
        sky_rms=source.sky_rms(), electrons=[band.electrons for band in source.bands], psf=images.psf,
        target_psf=images.target_psf, zeropoint=source.zeropoint, target_zeropoint=target.zeropoint,
        mask=images.masks[0], variance=images.variances[0], tolerance=images.tolerance,
        **{"noise": images.noise} | options,
    )  # fmt: skip


def _index(output, results, images):
    """Write the page that leads to those of the levels."""
    jinja2 = require("jinja2", extra="report")
    about = images.about | {"galaxies": len(images), "translations": ", ".join(images.translated)}
    levels = {
        level: (result.title, list(result.tables), sorted(p.name for p in (output / level).glob("gallery_*.png")))
        for level, result in results.items()
    }
    page = jinja2.Environment(autoescape=True).from_string(INDEX).render(levels=levels, about=about)
    with whole_file(output / "index.html") as file:
        file.write_text(page, encoding="utf8")


INDEX = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Fidelity of translated images</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 50rem; padding: 0 1rem; color: #222 }
td { padding: 0.2rem 1.5rem 0.2rem 0; vertical-align: top }
</style>
</head>
<body>
<h1>Fidelity of translated images</h1>
<table>
{% for what, value in about.items() %}<tr><td>{{ what }}</td><td>{{ value }}</td></tr>
{% endfor %}</table>
<ul>
{% for level, (title, tables, pictures) in levels.items() %}<li><a href="{{ level }}/report.html">{{ title }}</a>:
tables {{ tables | join(", ") }}{% for picture in pictures %},
<a href="{{ level }}/{{ picture }}">{{ picture[:-4] | replace("_", " of ") }}</a>{% endfor %}</li>
{% endfor %}</ul>
</body>
</html>
"""
