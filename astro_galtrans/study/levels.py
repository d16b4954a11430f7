"""
The levels of a study: each model measured once, and its result kept; results of all models joined to one per level.

A level is measured for the models that have no result yet, all at once, since the real images have to be measured with
them. A result of a model does not depend on which others were measured beside it.
"""

from dataclasses import asdict

import numpy as np
from astropy.table import vstack

from astro_galtrans._columns import plain
from astro_galtrans._files import fingerprint
from astro_galtrans._release import __version__
from astro_galtrans.fidelity.anomaly.measure import anomalies
from astro_galtrans.fidelity.anomaly.result import AnomalyResult
from astro_galtrans.fidelity.files.inputs import judging_of, known_of
from astro_galtrans.fidelity.files.redshift import joined_stamps
from astro_galtrans.fidelity.morphology import MorphologyFidelity, morphology_fidelity
from astro_galtrans.fidelity.photometry import PhotometryFidelity, photometry_fidelity
from astro_galtrans.fidelity.pixel.measure import PixelFidelity, pixel_fidelity
from astro_galtrans.fidelity.redshift.measure import redshift_fidelity
from astro_galtrans.fidelity.redshift.peaks import PeakFidelity, peak_fidelity, signal_to_noise
from astro_galtrans.fidelity.redshift.result import RedshiftFidelity
from astro_galtrans.fidelity.redshift.selection import FEWEST
from astro_galtrans.statistics import Bootstrap

__all__ = ["KINDS", "joined_results", "measure_level", "why_not"]

KINDS = {
    "pixel": PixelFidelity, "photometry": PhotometryFidelity, "morphology": MorphologyFidelity,
    "anomaly": AnomalyResult, "redshift": RedshiftFidelity, "peaks": PeakFidelity,
}  # fmt: skip
BINS = 5  # of equally many galaxies


def why_not(level, data):
    """Return why a level cannot be measured on the pairs of a task, or None."""
    if level != "anomaly" and not data.truth:
        return "there are no true images"
    if level in {"redshift", "peaks"}:
        z = data.judged.column("z")
        known = 0 if z is None else np.count_nonzero(np.isfinite(plain(z)))
        if known < FEWEST * (1 if data.training else 2):
            return f"only {known} of the {len(data.judged)} galaxies have a redshift (column z)"
    return None


def measure_level(level, models, data, study, cache, *, progress=True):
    """
    Return the `~astro_galtrans.fidelity.result.Result` of a level, and a fingerprint of all that it depends on.

    Parameters
    ----------
    level : str
        A key of `KINDS`.
    models : list of `~astro_galtrans.study.steps.Model`
    data : `~astro_galtrans.study.steps.TaskData`
    study : `~astro_galtrans.study.recipe.Study`
    cache : `~astro_galtrans.study.steps.Cache`
    progress : bool, optional
        Show progress bars on a terminal.
    """
    bootstrap = Bootstrap(study.bootstrap.resamples, study.seed, study.bootstrap.confidence)
    sections = {name: getattr(study, name) for name in ("morphology", "anomaly", "redshift")}
    options = (sections | {"peaks": study.redshift}).get(level)
    settings = {"options": options and asdict(options), "bootstrap": asdict(bootstrap), "crop": data.crop, "bins": BINS}
    content, read = fingerprint(__version__, data.key, level, settings), KINDS[level].read
    # tables of redshifts have a column per model; estimators, which are what takes time there, are kept on their own
    groups = [models] if level == "redshift" else [[model] for model in models]
    paths = [
        cache.path(
            f"results/{level}-{group[0].name if len(group) == 1 else 'all'}.fits",
            fingerprint(content, *(part for model in group for part in (model.name, model.key))),
        )
        for group in groups
    ]
    found = [cache.read(path, read) for path in paths]
    missing = [k for k, result in enumerate(found) if result is None]
    if missing:
        wanted = [model for k in missing for model in groups[k]]
        run = _of_redshift if level in {"redshift", "peaks"} else _of_images
        result = run(level, wanted, data, study, cache, bootstrap, progress)
        for k in missing:
            _only(result, [model.name for model in groups[k]]).write(paths[k], overwrite=True)
            found[k] = read(paths[k])
    return joined_results(found), fingerprint(*(path.name for path in paths))


def _of_images(level, models, data, study, _cache, bootstrap, progress):
    """Pixels, photometry, morphology or anomalies of some models."""
    source, translated = data.stamps("source"), {model.name: model.stamps() for model in models}
    if level == "anomaly":
        rows = slice(study.anomaly.number or None)
        judging = judging_of(data.judged, source) | {"seed": study.seed, "progress": progress}
        target = data.stamps("target")[rows] if data.truth else None
        translated = {name: stamps[rows] for name, stamps in translated.items()}
        return anomalies(source[rows], translated, target=target, **judging)
    by = known_of(data.judged)
    if level == "morphology":  # which measures magnitude and size itself
        by = {name: values for name, values in by.items() if name == "redshift"}
    options = {"by": by, "bins": BINS, "take": "first", "bootstrap": bootstrap, "progress": progress}
    run = {"pixel": pixel_fidelity, "photometry": photometry_fidelity, "morphology": morphology_fidelity}[level]
    more = asdict(study.morphology) if level == "morphology" else {}
    return run(data.stamps("target"), translated, **options, **more)


def _of_redshift(level, models, data, study, cache, bootstrap, progress):
    """Redshift, or peak fluxes, of some models; galaxies that only train follow those that are judged."""
    parts = ["judged", "training"] if data.training else ["judged"]
    side = None if data.crop is None else data.crop * data.judged.header.scale
    source = _joined([data.stamps("source", part) for part in parts], "source", data.crop)
    target = _joined([data.stamps("target", part) for part in parts], "target", side)
    translated = {model.name: _joined([model.stamps(part) for part in parts], model.name, side) for model in models}
    stores = [data.judged, data.training][: len(parts)]
    z_spec, number = np.concatenate([plain(store.table["z"]) for store in stores]), len(data.judged)
    rows = {"test": np.arange(number), "train": np.arange(number, len(z_spec))} if len(parts) > 1 else {}
    options = {"bootstrap": bootstrap, "progress": progress} | rows
    options |= {"epochs": study.redshift.epochs} if study.redshift.epochs else {}
    if level == "peaks":
        return peak_fidelity(source, target, translated, z_spec, **options)
    by = {"snr": signal_to_noise(source)}
    if all("r" in store.table.colnames for store in stores):
        by["magnitude"] = np.concatenate([plain(store.table["r"]) for store in stores])
    options |= {"estimator": study.redshift.estimator, "directory": cache.part("estimators"), "by": by, "bins": BINS}
    return redshift_fidelity(source, target, translated, z_spec, **options)


def _joined(parts, name, side):
    return joined_stamps([part if side is None else part.middle(side) for part in parts], name)


def _only(result, names):
    """The part of a result that is of some models, and of none: of source and target."""
    others = {"", "source", "target"}
    tables = {
        name: table[[str(model) in others or str(model) in names for model in table["model"]]]
        if "model" in table.colnames else table
        for name, table in result.tables.items()
    }  # fmt: skip
    return type(result)(tables, result.meta)


def joined_results(results):
    """Return one result of all models, from one of each; what is of no model is taken from the first."""
    tables, seen = {}, [set() for _ in results[0].tables]
    for name, known in zip(results[0].tables, seen, strict=True):
        parts = []
        for table in (result.tables[name] for result in results if name in result.tables):
            if "model" not in table.colnames:
                parts = parts or [table]
                continue
            models = np.array([str(model) for model in table["model"]])
            parts.append(table[~np.isin(models, list(known))])
            known |= set(models)
        tables[name] = vstack(parts, metadata_conflicts="silent")
    meta = results[0].meta | {"samples": {k: v for r in results for k, v in r.meta.get("samples", {}).items()}}
    return type(results[0])(tables, meta)
