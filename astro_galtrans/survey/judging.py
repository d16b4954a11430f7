"""What is measured of the stamps of a survey, and compared with real ones: a table for each shard, then statistics."""

import json
from functools import partial
from pathlib import Path

import numpy as np
from astropy.table import QTable, vstack

from astro_galtrans import measure
from astro_galtrans._files import fingerprint, whole_file
from astro_galtrans._locks import held
from astro_galtrans._optional import require
from astro_galtrans._progress import tqdm
from astro_galtrans._release import __version__
from astro_galtrans.fidelity.compare import BOOTSTRAP, compare
from astro_galtrans.fidelity.morphology import enters, morphology_fidelity
from astro_galtrans.fidelity.morphology import quantities_of as morphology_quantities
from astro_galtrans.fidelity.photometry import photometry_fidelity
from astro_galtrans.fidelity.photometry import quantities_of as photometry_quantities
from astro_galtrans.stamps import SHARDS_FILE, Stamps
from astro_galtrans.statistics import Bootstrap
from astro_galtrans.statistics.resampling import centre_and_scatter
from astro_galtrans.surveys import get_survey
from astro_galtrans.translate.workers import done_by

from .shards import check_settings, check_workers, shard_path

__all__ = ["compare_shards", "measure_shards"]

MEASURES = {"photometry": measure.photometry, "morphology": measure.morphology}
LEVELS = {
    "photometry": (photometry_fidelity, photometry_quantities),
    "morphology": (morphology_fidelity, morphology_quantities),
}  # fmt: skip
#: Galaxies whose values of one quantity are in memory at once; of more, so many are taken at random, which is as good
#: as all for medians whose errors are then a thousandth of the scatter.
MOST = 2**20
LABELS = "row", "band", "ra", "dec", "model", "flags", "flag", "flag_sersic"  # columns that are no quantities


def measure_shards(
    folder, output, what=("photometry",), *, survey=None, bootstrap=BOOTSTRAP, client=None, progress=True, most=MOST
):  # fmt: skip
    """
    Measure the galaxies of a translated survey: a table for each shard, and statistics of all.

    A table is written as its shard is done, ``photometry-000000.parquet`` and so on, and one that is there is kept:
    after an interruption the same call goes on. `astropy.table.QTable.read` reads it with its units.

    Parameters
    ----------
    folder : path-like
        The output of `translate_catalogue`.
    output : path-like
        Folder of the tables, made if missing.
    what : sequence of str, optional
        ``"photometry"`` and ``"morphology"``, functions of `astro_galtrans.measure`.
    survey : str, path-like or `~astro_galtrans.surveys.Survey`, optional
        The stamps' own, whose sky noise errors are of; by default the one that the translator is for.
    bootstrap : `~astro_galtrans.statistics.bootstrap.Bootstrap`, optional
        How intervals are made.
    client : `distributed.Client`, optional
        Workers, see `cluster`; by default this process does the work.
    progress : bool, optional
        Show a bar over shards, with rate and time left, on a terminal.
    most : int, optional
        Galaxies that statistics are of, at most; of more so many are taken at random.

    Returns
    -------
    `~astropy.table.QTable`
        By ``measured`` (photometry or morphology), ``band``, ``quantity`` and ``statistic`` (``median``, or
        ``scatter``, 1.4826 times the median absolute deviation from it): ``value``, ``low``, ``high``, ``unit``, and
        ``n``, the galaxies whose value is finite. It is also written, ``statistics.ecsv``.

    Raises
    ------
    FileNotFoundError
        If the folder holds no shards, or some are missing.
    OSError
        If the output was made with other settings, another process writes to it, or the disk is full.
    ValueError
        If it is not known how to measure something, or the survey has no sky noise.
    """
    _known(what, MEASURES)
    folder, output = Path(folder).expanduser().absolute(), Path(output).expanduser().absolute()
    number = _count(folder)
    survey = _survey(folder, survey)
    settings = {"shards": str(folder), "made": _made(folder), "what": list(what), "survey": survey.to_dict()}
    with held(output):
        _run(
            _measure_shard, output, settings | {"version": __version__}, [f"{name}-" for name in what], number, client,
            progress, folder=folder, survey=survey,
        )  # fmt: skip
        rows = []
        for name in what:
            columns = _Columns(output, name, number, bootstrap.seed, most)
            for quantity in (each for each in columns.quantities if not each.endswith("_err")):
                rows += _statistics(name, quantity, columns, bootstrap)
        table = QTable(rows=rows)
        _write(table, output / "statistics.ecsv")
    return table


def compare_shards(
    target, translated, output, levels=("photometry",), *, survey=None, bootstrap=BOOTSTRAP, client=None,
    progress=True, most=MOST,
):  # fmt: skip
    """
    Compare translated galaxies of a survey with real ones: a table for each shard, and statistics of all.

    Tables, ``photometry-000000.parquet`` and so on, are written and kept as by `measure_shards`; they are those that
    the functions of `astro_galtrans.fidelity` call ``galaxies``.

    Parameters
    ----------
    target : path-like
        Real stamps of the same galaxies, in the same order and on the same pixels: shards, or any other stamps that
        `~astro_galtrans.stamps.Stamps.from_files` reads.
    translated : dict of str to path-like
        Outputs of `translate_catalogue` by name.
    output : path-like
        Folder of the tables, made if missing.
    levels : sequence of str, optional
        ``"photometry"`` and ``"morphology"``.
    survey : str, path-like or `~astro_galtrans.surveys.Survey`, optional
        That of the target; by default the one that the translator is for.
    bootstrap, client, progress, most : optional
        As for `measure_shards`.

    Returns
    -------
    dict of str to `~astropy.table.QTable`
        Of each level the table ``statistics`` as of `astro_galtrans.fidelity`, also written, ``photometry.ecsv``. Of no
        more than ``most`` galaxies it is that of all stamps compared at once; there are no bins and no profiles.

    Raises
    ------
    FileNotFoundError
        If a folder holds no shards, or some are missing.
    OSError
        If the output was made with other settings, another process writes to it, or the disk is full.
    ValueError
        If a level is unknown, there is nothing to compare, or stamps are not of the same galaxies.
    """
    _known(levels, LEVELS)
    if not translated:
        msg = "there is nothing to compare: give folders of translated shards by name"
        raise ValueError(msg)
    translated = {str(name): str(Path(path).expanduser().absolute()) for name, path in translated.items()}
    target, output = Path(target).expanduser().absolute(), Path(output).expanduser().absolute()
    first = next(iter(translated.values()))
    number = _count(first)
    for name, path in translated.items():
        _same_division(first, path, name)
    survey, starts = _survey(first, survey), np.cumsum([0, *(_group(first, k)["row"].shape[0] for k in range(number))])
    if (target / SHARDS_FILE).exists():
        _same_division(first, target, "the target")
    elif len(real := Stamps.from_files(target, survey)) != starts[-1]:
        msg = f"the target {target} has {len(real)} stamps, the shards {starts[-1]}; give those of the same galaxies"
        raise ValueError(msg)
    settings = {
        "translated": translated, "made": {name: _made(path) for name, path in translated.items()},
        "target": str(target), "target_made": _made(target), "levels": list(levels), "survey": survey.to_dict(),
    }  # fmt: skip
    with held(output):
        _run(
            _compare_shard, output, settings | {"version": __version__}, [f"{level}-" for level in levels], number,
            client, progress, target=target, translated=translated, survey=survey, starts=starts,
        )  # fmt: skip
        found = {}
        for level in levels:
            columns, parts = _Columns(output, level, number, bootstrap.seed, most), []
            of_real, pairs = LEVELS[level][1](columns.quantities)
            for quantity, pair in pairs.items():
                real, ours = columns.pair(quantity, of_real.get(quantity, f"{quantity}_target"), tuple(translated))
                parts.append(compare(real, ours, {quantity: pair}, bootstrap=bootstrap, progress=False)["statistics"])
            found[level] = vstack(parts)
            _write(found[level], output / f"{level}.ecsv")
    return found


def _known(what, known):
    unknown = [name for name in what if name not in known]
    if unknown or not what:
        msg = f"expected some of {', '.join(known)}, got {', '.join(unknown) or 'none'}"
        raise ValueError(msg)


def _count(folder):
    place = Path(folder) / SHARDS_FILE
    if not place.exists():
        msg = f"{folder} holds no shards of a survey (no {SHARDS_FILE}), which galtrans translate --catalogue makes"
        raise FileNotFoundError(msg)
    number = json.loads(place.read_text(encoding="utf8"))["shards"]
    missing = sum(not shard_path(folder, k).exists() for k in range(number))
    if missing:
        msg = f"{folder} is not complete: {missing} of {number} shards are missing; translate again"
        raise FileNotFoundError(msg)
    return number


def _survey(folder, survey):
    known = json.loads((Path(folder) / SHARDS_FILE).read_text(encoding="utf8"))["survey"]
    return get_survey(known["name"] if survey is None else survey).select([band["name"] for band in known["bands"]])


def _made(folder):
    """What tells one set of shards from another."""
    place = Path(folder) / SHARDS_FILE
    return fingerprint(place.read_bytes()) if place.exists() else Path(folder).stat().st_mtime


def _group(folder, number):
    return require("zarr", "scale").open_group(shard_path(folder, number), mode="r")


def _same_division(first, other, name):
    """Raise ValueError unless both folders have the same objects in each shard."""
    number = _count(first)
    same = _count(other) == number
    if not (same and all(np.array_equal(*(_group(f, k)["row"][:] for f in (first, other))) for k in range(number))):
        msg = f"the shards of {name} are not of the same objects as those of {first}; translate one catalogue for both"
        raise ValueError(msg)


def _run(function, output, settings, names, number, client, progress, **common):
    """Let shards be done whose tables are not there."""
    require("pyarrow", "scale")
    check_settings(output / "settings.json", settings)
    todo = [k for k in range(number) if not all(_table(output, name.rstrip("-"), k).exists() for name in names)]
    if todo:
        check_workers(client)
    bar = tqdm(total=number, initial=number - len(todo), unit="shard", disable=None if progress else True)
    with bar:
        what = [name.rstrip("-") for name in names]
        for _ in done_by(function, todo, client=client, output=output, what=what, **common):
            bar.update()


def _table(output, name, number):
    return output / f"{name}-{number:06d}.parquet"


def _measure_shard(number, folder, output, what, survey):
    """Measure the galaxies of a shard, and write a table of each kind of measurement."""
    group, stamps = _group(folder, number), Stamps.from_files(shard_path(folder, number), survey)
    good = np.flatnonzero(group["flags"][:] & 1 == 0)
    for name in what:
        table = MEASURES[name](stamps[good], progress=False)
        _place(table, group, good)
        _write(table, _table(output, name, number))


def _compare_shard(number, target, translated, output, what, survey, starts):
    """Compare the galaxies of a shard, and write a table of each level."""
    groups = {name: _group(folder, number) for name, folder in translated.items()}
    first = next(iter(groups.values()))
    good = np.all([group["flags"][:] & 1 == 0 for group in groups.values()], axis=0)
    ours = {name: Stamps.from_files(shard_path(folder, number), survey) for name, folder in translated.items()}
    if (target / SHARDS_FILE).exists():
        real = Stamps.from_files(shard_path(target, number), survey)
        good &= _group(target, number)["flags"][:] & 1 == 0
    else:
        like = next(iter(ours.values()))
        whole = Stamps.from_files(target, survey, pixel_scale=like.pixel_scale)
        real = whole[slice(*map(int, starts[number : number + 2]))]
    rows = np.flatnonzero(good)
    for level in what:
        images = {name: stamps[rows] for name, stamps in ours.items()}
        result = LEVELS[level][0](real[rows], images, bins=1, bootstrap=Bootstrap(resamples=0), progress=False)
        tables = [result["galaxies"]] + ([result["colours"]] if "colours" in result.tables else [])
        table = vstack(tables, metadata_conflicts="silent") if len(tables) > 1 else tables[0]
        _place(table, first, rows)
        _write(table, _table(output, level, number))


def _place(table, group, rows):
    """Put in the rows of the catalogue, and the positions."""
    of = np.asarray(table["row"])
    for name in ("row", "ra", "dec", "flags"):
        values = group[name][:][rows][of]
        table["survey_flags" if name == "flags" else name] = values


def _write(table, place):
    with whole_file(place) as file:
        table.write(file, format="parquet" if place.suffix == ".parquet" else "ascii.ecsv")


class _Columns:
    """Columns of the tables of all shards, one quantity at a time; of many galaxies, some taken at random."""

    def __init__(self, output, name, number, seed, most):
        self._read = partial(require("pyarrow.parquet", "scale").read_table)
        self._paths, self._seed = [_table(output, name, k) for k in range(number)], seed
        first = QTable.read(self._paths[0], format="parquet")
        self._units = {column: str(getattr(first[column], "unit", None) or "") for column in first.colnames}
        self.quantities = [name for name in first.colnames if name not in (*LABELS, "survey_flags", "rings")]
        metadata = require("pyarrow.parquet", "scale").read_metadata
        galaxies = sum(metadata(path).num_rows for path in self._paths) / max(1, len(set(map(str, first["band"]))))
        self._share = min(1.0, most / max(galaxies, 1))

    def columns(self, *names):
        """Return columns of the galaxies that are taken, plain arrays by name."""
        parts = []
        for k, path in enumerate(self._paths):
            table = self._read(path, columns=list(dict.fromkeys(("row", *names))))
            found = {name: table[name].to_numpy() for name in table.column_names}
            if self._share < 1:
                rows = np.unique(found["row"])
                rows = rows[np.random.default_rng([self._seed, k]).random(len(rows)) < self._share]
                found = {name: values[np.isin(found["row"], rows)] for name, values in found.items()}
            parts.append(found)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def unit(self, quantity):
        return self._units[quantity]

    def pair(self, quantity, of_real, models):
        """Return tables of a quantity for `compare`: of the real images, and of each translation by name."""
        others = ["flag", "flag_sersic", "sn_per_pixel"] if "flag" in self._units else []
        names = dict.fromkeys(("band", "model", quantity, of_real, *others, *(f"{name}_target" for name in others)))
        found = self.columns(*names)
        # colours are in other rows of the same table, and the quantities of the bands are not known there
        here = np.char.find(found["band"].astype(str), " - ") >= 0
        here = here if quantity == "colour" else ~here
        found = {name: values[here] for name, values in found.items()}
        tables = {}
        for model in models:
            rows = found["model"].astype(str) == model
            number = np.unique(found["row"][rows], return_inverse=True)[1]
            order = np.argsort(number, kind="stable")
            for name, end, column in (("real", "_target", of_real), (model, "", quantity)):
                values = np.array(found[column][rows][order], dtype=float)
                if others:
                    values[~enters({n: found[f"{n}{end}"][rows][order] for n in others}, quantity)] = np.nan
                if quantity == "shift" and end:
                    values = 0 * values
                unit = self.unit(quantity)
                tables[name] = QTable(
                    {"row": number[order], "band": found["band"][rows][order].astype(str), quantity: values},
                    units={quantity: unit} if unit else None,
                )  # fmt: skip
        return tables.pop("real"), tables


def _statistics(name, quantity, columns, bootstrap):
    """Yield rows of the statistics of one quantity that was measured."""
    found = columns.columns("band", quantity)
    if found[quantity].dtype.kind not in "fiu":
        return
    for band in dict.fromkeys(found["band"].astype(str)):
        values = found[quantity][found["band"].astype(str) == band].astype(float)
        values = values[np.isfinite(values)]
        parts = centre_and_scatter(values, n=bootstrap.resamples, seed=bootstrap.seed, level=bootstrap.level)
        for statistic, part in zip(("median", "scatter"), parts.values(), strict=True):
            yield {
                "measured": name, "band": band, "quantity": quantity, "statistic": statistic, "value": part.value,
                "low": part.low, "high": part.high, "n": len(values), "unit": columns.unit(quantity),
            }  # fmt: skip
