"""The levels of fidelity: pixels, photometry, morphology, anomalies; a report of each, and an index of the reports."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from astro_galtrans._files import whole_file
from astro_galtrans.fidelity.anomaly.measure import anomalies
from astro_galtrans.fidelity.morphology import morphology_fidelity
from astro_galtrans.fidelity.page import Section, files_of, write_page
from astro_galtrans.fidelity.photometry import photometry_fidelity
from astro_galtrans.fidelity.pixel.measure import pixel_fidelity
from astro_galtrans.fidelity.result import clear_report

__all__ = ["LEVELS", "compare_levels", "write_index"]

GALLERY = {"pixel": "rmse", "photometry": "flux_3", "morphology": "gini"}  #: what galleries are sorted by
LEVELS = "pixel", "photometry", "morphology", "anomaly"  #: what is measured, in this order
MEASURED = "magnitude", "size"  # properties that morphology measures in the real image, and bins by, itself


def compare_levels(stamps, output, *, levels, options, by, bins, bootstrap, about, format, progress):  # noqa: A002
    """
    Measure levels of fidelity, write their reports and an index into a folder, and return the results by level.

    ``stamps`` are those of ``"source"``, ``"target"`` and the translations, ``options`` more options of each level,
    ``about`` what reports say of the images; all others as for `~astro_galtrans.fidelity.files.fidelity_from_files`.
    """
    source, target = stamps["source"], stamps.get("target")
    translated = {name: images for name, images in stamps.items() if name not in {"source", "target"}}
    shared = {"bins": bins, "bootstrap": bootstrap, "progress": progress, "take": "first"}
    others = {name: values for name, values in by.items() if name not in MEASURED}
    run = {
        "pixel": lambda **more: pixel_fidelity(target, translated, **shared | {"by": by} | more),
        "photometry": lambda **more: photometry_fidelity(target, translated, **shared | {"by": by} | more),
        "morphology": lambda **more: morphology_fidelity(target, translated, **shared | {"by": others} | more),
        "anomaly": lambda **more: anomalies(source, translated, target=target, **{"progress": progress} | more),
    }
    results, pictures, output = {}, {}, Path(output)
    for level in (level for level in LEVELS if level in levels):
        results[level] = run[level](**options.get(level, {}))
        results[level].meta |= about
        if len(results) == 1:
            _clear(output)
        results[level].report(output / level, format=format, overwrite=True)
        pictures[level] = _galleries(output / level, results[level], GALLERY.get(level), source, target, translated)
        # After each level, so that what is done can be looked at while the next is measured.
        write_index(output, results, pictures, about | {"galaxies": len(source), "translations": ", ".join(translated)})
    return results


def _clear(output):
    """Remove the reports of an earlier run, which may be of other galaxies or translations than this one's."""
    (output / "index.html").unlink(missing_ok=True)
    for folder in (output / level for level in LEVELS):
        clear_report(folder)
        for gallery in folder.glob("gallery_*.png"):
            gallery.unlink()
        with suppress(OSError):  # there is none, or something else is in it
            folder.rmdir()


def _galleries(folder, result, metric, source, target, translated):
    """Draw the galaxies that each translation did best, as usual and worst by a metric; return the files' names."""
    if not metric:
        return []
    known, files = {"source": source} if source.bands == target.bands else {}, []
    for model, stamps in translated.items():
        if np.isfinite(result.scores(metric, model)).any():
            files.append(f"gallery_{model}.png")
            with whole_file(folder / files[-1]) as place:
                result.gallery(metric, target, stamps, model=model, **known).savefig(place)
    return files


def write_index(output, results, pictures, about):
    """
    Write the page of all levels, ``index.html``, which links their reports and shows their pictures.

    Parameters
    ----------
    output : `~pathlib.Path`
        The folder, in which each level has a folder with its report.
    results : dict of str to `~astro_galtrans.fidelity.result.Result`
        Results by level.
    pictures : dict of str to list of str
        Names of more pictures in the folder of a level.
    about : dict
        What the page says of the images.
    """
    sections = []
    for level, result in results.items():
        galleries = {file.removesuffix(".png"): output / level / file for file in pictures.get(level, ())}
        beside = [name for name in files_of(output / level / "report.html") if name.endswith(".png")]
        shown = result.pictures({name.removesuffix(".png"): output / level / name for name in beside})
        shown += [replace(figure, caption=figure.alt.replace("_", " of ", 1)) for figure in result.pictures(galleries)]
        shown = [replace(figure, file=f"{level}/{figure.file}") for figure in shown]
        sections.append(Section(result.title, [*result.lead(), *shown], href=f"{level}/report.html"))
    write_page(output / "index.html", "Fidelity of translated images", sections, about=about)
