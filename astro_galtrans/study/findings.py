"""What Ruan, Lin et al. (2025) found, and whether the pairs of a study say so too."""

import numpy as np

__all__ = ["findings"]

STRUCTURE = 0.1  # of the flux and of the size: "reproduces global structure" if the median is no further from the truth
SHAPES = "gini", "m20", "concentration"
SPREAD = 0.5  # of the true scatter of galaxies: "holds roughly" if bias and scatter of the error are smaller


def findings(tasks):
    """
    Return the paper's findings: each a claim, sentences on what was measured, and the figures that show it.

    Figures are pairs of a key of `~astro_galtrans.study.report.write_figures` and a part of the name of the file.
    Answers are of translators only, in the middle band.

    Parameters
    ----------
    tasks : list of `~astro_galtrans.study.run.TaskResult`
    """
    claims = (
        ("All networks reproduce the global structure of galaxies.", _structure, "photometry", "bands"),
        ("Statistics of morphology roughly hold.", _morphology, "morphology", "violins"),
        ("The precision of redshifts degrades in plug-in use.", _plug_in, "redshift", "information"),
        ("Cross-band peak fluxes carry information about the redshift, and translation scatters them.", _peaks, "peaks",
         "peak_scatter"),
    )  # fmt: skip
    found = []
    for claim, answer, level, pattern in claims:
        there = [task for task in tasks if level in task.results and _translators(task)]
        answers = [sentence for task in there for sentence in answer(task)]
        found.append((claim, answers, [((task.name, level), pattern) for task in there]))
    return found


def _translators(task):
    return [model.name for model in task.models if model.kind == "translator"]


def _value(task, metric, model):
    """A figure of the summary in the middle band."""
    bands = task.data.judged.header.target_bands
    wanted = {"all", bands[len(bands) // 2]}
    rows = (row for row in task.summary if row["metric"] == metric and row["model"] == model and row["band"] in wanted)
    return next((row["value"] for row in rows), np.nan)


def _verdict(task, good, bad):
    """A sentence on which translators do what is claimed, and which do not."""
    yes, no = [name for name, holds in good.items() if holds], [name for name, holds in good.items() if not holds]
    if not no:
        return f"{task.name}: holds for all ({bad})."
    return f"{task.name}: holds for {', '.join(yes) or 'none'}; not for {', '.join(no)} ({bad})."


def _structure(task):
    found = {
        name: abs(_value(task, "flux_bias", name) - 1) < STRUCTURE and abs(_value(task, "fwhm", name) - 1) < STRUCTURE
        for name in _translators(task)
    }
    yield _verdict(task, found, f"median Kron flux and width within {100 * STRUCTURE:.0f} % of the truth")


def _morphology(task):
    result, bands = task.results["morphology"], task.data.judged.header.target_bands
    found = {}
    for name in _translators(task):
        good = []
        for shape in SHAPES:
            true = result.entering(f"{shape}_target", name, bands[len(bands) // 2])
            spread = 1.4826 * np.nanmedian(np.abs(true - np.nanmedian(true))) if np.isfinite(true).any() else np.nan
            errors = [abs(_value(task, f"{shape}_{end}", name)) for end in ("bias", "scatter")]
            good.append(max(errors) < SPREAD * spread)
        found[name] = all(good)
    told = f"bias and scatter of Gini, M20 and concentration below {100 * SPREAD:.0f} % of the scatter among galaxies"
    yield _verdict(task, found, told)


def _plug_in(task):
    source = _value(task, "retrained_scatter", "source")
    found = {name: _value(task, "plug_in_scatter", name) > source for name in _translators(task)}
    worst = max((_value(task, "plug_in_scatter", name) for name in found), default=np.nan)
    yield _verdict(task, found, f"sigma_mad of the source images {source:.4f}, of plug-in use up to {worst:.4f}")


def _peaks(task):
    result = task.results["peaks"]
    target, low, _ = result.value("peak", "information", model="target")
    known = "carry" if low > 0 else "do not measurably carry"
    yield f"{task.name}: peak fluxes of true images {known} information ({target:.2f} nats)."
    bands = task.data.judged.header.target_bands
    band = bands[len(bands) // 2]
    found, told = {}, []
    for name in _translators(task):
        scatter, *_ = result.value("peak", "scatter", model=name, band=band)
        noise, *_ = result.value("peak", "sky_noise", model=name, band=band)
        found[name] = scatter > 2 * noise
        told.append(f"{name} {scatter:.3f} mag, noise {noise:.3f}")
    yield _verdict(task, found, f"scatter of the peak in {band}: {'; '.join(told)}")
