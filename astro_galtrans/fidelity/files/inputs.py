"""Stamps of both surveys and translations of the same galaxies, from a store of pairs or from stamps."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from astro_galtrans._columns import plain
from astro_galtrans._plain import plain_name
from astro_galtrans.fidelity.anomaly.residuals import Tolerance
from astro_galtrans.pairs.store import HEADER_FILE, PairStore
from astro_galtrans.psf import MoffatPSF
from astro_galtrans.stamps import Stamps
from astro_galtrans.stamps.stamps import as_stamps
from astro_galtrans.surveys import get_survey
from astro_galtrans.translate import Translator

__all__ = ["by_name", "from_stamps", "from_store", "galaxies", "is_store", "judging_of", "known_of", "stamps_of_both"]

# One sigma of what is not known exactly of pairs cut from frames: PSFs are stacks of a few stars, known to some 5 % in
# width and 3 % in shape; registration is good to about a tenth of a pixel; backgrounds are uneven below the noise. What
# is left of a PSF when its width, shape and wings are fitted is about 2 % of its light, pixel by pixel.
OBSERVED = Tolerance(width=0.05, ellipticity=0.03, wings=0.2, shift=0.05, sky=0.2, light=0.02)
# ... and where only their FWHM is known, real stars have 0.1 to 0.3 of their light in a halo that no FWHM tells of.
OF_FWHM = {"wings": 0.5, "halo": 0.2}
SEEING_SPREAD = 0.13  # of the FWHM of exposures about a survey's typical one, as the simulation draws it
KINDS_LEFT_OUT = "star", "blank"


def is_store(source):
    """Return whether this is a store of pairs, or the path of one."""
    return isinstance(source, PairStore) or (isinstance(source, str | Path) and (Path(source) / HEADER_FILE).exists())


def by_name(translated):
    """Return translations by name: of a dict, or named after their translator, file or folder."""
    if not isinstance(translated, dict):
        items = translated if isinstance(translated, list | tuple) else [] if translated is None else [translated]
        names = [_name(item) for item in items]
        if len(set(names)) < len(names):
            msg = f"two translations have the same name, {', '.join(names)}; give a dict of name to translation"
            raise ValueError(msg)
        translated = dict(zip(names, items, strict=True))
    return {plain_name(name, "the name of a translation"): item for name, item in translated.items()}


def _name(item):
    if isinstance(item, str | Path):
        return Path(item).name.split(".")[0]
    name = getattr(item, "name", "stamps")
    return "translated" if name == "stamps" else name


def from_store(pairs, translated, making, number=None):
    """
    Return stamps, what is known of their noise, properties and origin, of the pairs of a store.

    Stamps are those of ``"source"``, ``"target"`` and the translations by name; the other three are options of
    `~astro_galtrans.fidelity.anomaly.measure.anomalies`, magnitude, size and redshift as far as the table has them, and
    what reports say. ``making`` has options of `~astro_galtrans.stamps.Stamps.from_translator`, and may have ``check``,
    which is called with source and target before they are translated; ``number`` limits the galaxies to the first ones.
    """
    making, check = _apart(making)
    whole = pairs if isinstance(pairs, PairStore) else PairStore(pairs)
    whole.check_images()
    rows, header = galaxies(whole)[:number], whole.header
    like, given = Stamps.from_pairs(whole, "target"), {}
    for name, item in translated.items():
        if not isinstance(item, Translator):
            given[name] = _of_rows(name, as_stamps(item, like, name), rows, len(whole), first=number is not None)
    crop, store = _crop(given, header), whole.subset(rows)
    source, target = (Stamps.from_pairs(store, side, crop=crop) for side in ("source", "target"))
    check(source=source, target=target)
    found = {"source": source, "target": target}
    for name, item in translated.items():
        if name in given:
            found[name] = given[name].middle(target.shape[0])
        else:
            found[name] = Stamps.from_translator(item, source, target, **making)
    return found, judging_of(store, source), known_of(store), {"pairs": str(store.directory), "crop": crop}


def _apart(making):
    """Options of a translation, and the check before it."""
    return {name: value for name, value in making.items() if name != "check"}, making.get("check", lambda **_: None)


def from_stamps(source, target, translated, making, number=None):
    """Return the same as `from_store`, of `~astro_galtrans.stamps.Stamps` of source and, if there is one, target."""
    for side, stamps in (("source", source), ("target", target)):
        if stamps is not None and not isinstance(stamps, Stamps):
            got = f"the {side} must be Stamps, frames or a store of pairs, got {type(stamps).__name__}"
            msg = f"{got}; files and arrays do not say whose they are: give Stamps.from_files(paths, survey)"
            raise TypeError(msg)
    source, found = source[:number], {}
    making, check = _apart(making)
    if target is not None:
        target = target[:number]
        check(source=source, target=target)
    for name, item in translated.items():
        if isinstance(item, Translator):
            found[name] = Stamps.from_translator(item, source, target, **making)
        else:
            found[name] = as_stamps(item, target, name)[:number]
    about = {"source": source.name} | ({} if target is None else {"target": target.name})
    return {"source": source, "target": target} | found, {"tolerance": _tolerance(source)}, {}, about


def stamps_of_source(paths, survey, bands=None, pixel_scale=None):
    """Return the `~astro_galtrans.stamps.Stamps` of the source in files; see `stamps_of_both`."""
    if survey is None:
        msg = "stamps do not say whose they are: give the survey of the source, a name or an .ecsv file"
        raise ValueError(msg)
    return Stamps.from_files(paths, get_survey(survey).select(bands), pixel_scale=pixel_scale, name="source")


def stamps_of_both(paths, surveys, bands=(None, None), pixel_scale=None):
    """
    Return the `~astro_galtrans.stamps.Stamps` of source and target in files, which show the same field.

    Paths are as `~astro_galtrans.stamps.open_stamps` takes them; bands are all of the survey by default, and pixel
    scales (arcsec) those of the surveys, or that of the target what the number of its pixels says.
    """
    if None in (surveys := list(surveys)):
        msg = "stamps do not say whose they are: give the surveys of source and target, names or .ecsv files"
        raise ValueError(msg)
    surveys = [get_survey(survey).select(names) for survey, names in zip(surveys, bands, strict=True)]
    source = Stamps.from_files(paths[0], surveys[0], pixel_scale=pixel_scale, name="source")
    target = Stamps.from_files(paths[1], surveys[1], name="target")
    return source, replace(target, pixel_scale=source.pixel_scale * source.shape[0] / target.shape[0], sky_rms=None)


def galaxies(store):
    """Return the rows of pairs that are galaxies, by the column ``kind``; all without one."""
    if "kind" not in store.table.colnames:
        return np.arange(len(store))
    return np.flatnonzero(~np.isin(store.table["kind"], KINDS_LEFT_OUT))


def _of_rows(name, stamps, rows, number, first):
    """Stamps of some galaxies, from those of all pairs or of all galaxies, or of the first of these."""
    if len(stamps) == number:
        return stamps[rows]
    if first and len(stamps) > len(rows):  # those of more galaxies than are wanted
        return stamps[: len(rows)]
    if len(stamps) != len(rows):
        msg = (
            f"{name} has {len(stamps)} stamps; there are {len(rows)} galaxies to compare (number={len(stamps)} takes "
            f"the first {len(stamps)} only)"
        )
        raise ValueError(msg)
    return stamps


def _crop(given, header):
    """Side of the middle of the source stamps that all translations show, or None for all of it."""
    sides = {name: stamps.shape[-1] for name, stamps in given.items()}
    wrong = [name for name, side in sides.items() if side % header.scale or side > header.target_size]
    if wrong:
        msg = (
            f"stamps of {wrong[0]} have {sides[wrong[0]]} pixels along a side, not {header.target_size}, or "
            f"{header.scale} for each of a part of the source's"
        )
        raise ValueError(msg)
    least = min(sides.values(), default=header.target_size)
    return None if least == header.target_size else least // header.scale


def judging_of(store, source):
    """Return options of `~astro_galtrans.fidelity.anomaly.measure.anomalies` that suit how well pairs are known."""
    # simulated pairs with resampled noise and residual sky are known no better than observed ones
    if store.header.observation is None and "resampling" not in store.table.colnames:
        return {"tolerance": _tolerance(source)}
    tolerance = replace(OBSERVED, **OF_FWHM) if _is_fwhm(source.psf) else OBSERVED
    return {"noise": "measured", "tolerance": tolerance}


def _is_fwhm(psf):
    """Return whether PSFs are known by their FWHM, not as images."""
    return isinstance(psf, MoffatPSF) or (isinstance(psf, np.ndarray) and psf.ndim < 3)


def _tolerance(source):
    """Return the tolerance that suits how well PSFs are known: seeing differs from the survey's typical one."""
    typical = [band.fwhm for band in source.survey.bands]
    only_typical = isinstance(source.psf, np.ndarray) and source.psf.ndim < 3 and (source.psf == typical).any()
    return Tolerance(width=SEEING_SPREAD) if only_typical else Tolerance()


def known_of(store):
    """Return magnitude, size and redshift, as far as the table has them."""
    names = {"magnitude": "r", "size": "half_light_radius", "redshift": "z"}
    found = {name: plain(store.table[column]) for name, column in names.items() if column in store.table.colnames}
    return {name: values for name, values in found.items() if np.isfinite(values).any()}
