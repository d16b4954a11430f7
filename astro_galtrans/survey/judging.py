"""What is measured of the stamps of a survey, and compared with real ones: a table for each shard, then statistics."""

from pathlib import Path

import numpy as np
from astropy.table import QTable

from astro_galtrans import measure
from astro_galtrans._files import fingerprint
from astro_galtrans._locks import held
from astro_galtrans._optional import require, require_report
from astro_galtrans._progress import tqdm
from astro_galtrans._release import __version__
from astro_galtrans.fidelity.compare import BOOTSTRAP
from astro_galtrans.fidelity.files.levels import write_index
from astro_galtrans.fidelity.pixel.measure import data_ranges
from astro_galtrans.stamps import SHARDS_FILE, Stamps
from astro_galtrans.statistics.resampling import centre_and_scatter
from astro_galtrans.surveys import get_survey
from astro_galtrans.translate.workers import done_by

from .levels import ELSEWHERE, LEVELS, MOST
from .shards import check_settings, check_workers, open_shard, read_settings, shard_path
from .tables import ShardTables, table_path, write_table

__all__ = ["compare_shards", "measure_shards"]

MEASURES = {"photometry": measure.photometry, "morphology": measure.morphology}
RANGE_OF = 4096  # galaxies, evenly spaced, whose pixels tell the data range: 10^5 pixels are beyond each of its ends


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

    Examples
    --------
    >>> import tempfile
    >>> from importlib.resources import files
    >>> from astropy.table import Table
    >>> from astro_galtrans.statistics import Bootstrap
    >>> from astro_galtrans.survey import measure_shards, translate_catalogue
    >>> images = [files("astro_galtrans") / "data" / "sample_sdss.fits.fz"]
    >>> table = Table({"ra": [150.063, 150.061], "dec": [2.198, 2.199]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     counts = translate_catalogue(table, images, "srgan-sdss-cfhtls", f"{folder}/out", size=24, progress=False)
    ...     found = measure_shards(f"{folder}/out", f"{folder}/measured", bootstrap=Bootstrap(0), progress=False)
    >>> found["quantity"][:2].tolist(), found["n"][:2].tolist()
    (['flux_kron', 'flux_kron'], [2, 2])
    """
    _known(what, MEASURES)
    folder, output = Path(folder).expanduser().absolute(), Path(output).expanduser().absolute()
    number = _count(folder)
    survey = _survey(folder, survey)
    settings = {"shards": str(folder), "made": _made(folder), "what": list(what), "survey": survey.to_dict()}
    with held(output):
        _run(
            _measure_shard, output, settings | {"version": __version__}, what, number, client, progress,
            folder=folder, survey=survey,
        )  # fmt: skip
        tables = [(name, ShardTables(output, name, number, survey.band_names, most, bootstrap.seed)) for name in what]
        table = QTable(rows=[row for each in tables for row in _statistics(*each, bootstrap)])
        write_table(table, output / "statistics.ecsv")
    return table


def compare_shards(
    target, translated, output, levels=tuple(LEVELS), *, survey=None, bootstrap=BOOTSTRAP, client=None, progress=True,
    most=MOST, format="ecsv",  # noqa: A002 - astropy's word
):  # fmt: skip
    """
    Compare translated galaxies of a survey with real ones: a table for each shard, then statistics and reports.

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
        Folder of the tables and of the reports, one folder per level and ``index.html``; made if missing.
    levels : sequence of str, optional
        Some of ``"pixel"``, ``"photometry"`` and ``"morphology"``.
    survey : str, path-like or `~astro_galtrans.surveys.Survey`, optional
        That of the target; by default the one that the translator is for.
    bootstrap, client, progress, most : optional
        As for `measure_shards`. Statistics of pixels are sums over all galaxies, however many.
    format : {"ecsv", "fits"}, optional
        Kind of the tables of statistics.

    Returns
    -------
    dict of str to `~astro_galtrans.fidelity.result.Result`
        One per level, with the table ``statistics`` and, of pixels, ``power``. Of no more than ``most`` galaxies they
        are those of all stamps compared at once; there are no bins and no profiles. The data range of PSNR and SSIM is
        that of 4,096 real stamps.

    Raises
    ------
    FileNotFoundError
        If a folder holds no shards, or some are missing.
    OSError
        If the output was made with other settings, another process writes to it, or the disk is full.
    ValueError
        If a level is unknown or cannot be had of shards, there is nothing to compare, or stamps are not of the same
        galaxies.

    Examples
    --------
    >>> import tempfile
    >>> from importlib.resources import files
    >>> from astropy.table import Table
    >>> from astro_galtrans.statistics import Bootstrap
    >>> from astro_galtrans.survey import compare_shards, translate_catalogue
    >>> images = [files("astro_galtrans") / "data" / "sample_sdss.fits.fz"]
    >>> table = Table({"ra": [150.063, 150.061], "dec": [2.198, 2.199]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     counts = translate_catalogue(table, images, "srgan-sdss-cfhtls", f"{folder}/out", size=24, progress=False)
    ...     options = dict(bootstrap=Bootstrap(0), progress=False)
    ...     found = compare_shards(f"{folder}/out", {"same": f"{folder}/out"}, f"{folder}/report", ["pixel"], **options)
    >>> found["pixel"]
    <PixelFidelity: statistics (115 rows), power (120 rows)>
    """
    _known(levels, LEVELS, ELSEWHERE)
    require_report()
    if not translated:
        msg = "there is nothing to compare: give folders of translated shards by name"
        raise ValueError(msg)
    translated = {str(name): str(Path(path).expanduser().absolute()) for name, path in translated.items()}
    target, output = Path(target).expanduser().absolute(), Path(output).expanduser().absolute()
    first = next(iter(translated.values()))
    number = _count(first)
    for name, path in translated.items():
        _same_division(first, path, name)
    survey, lengths = _survey(first, survey), [open_shard(first, k)["row"].shape[0] for k in range(number)]
    starts = np.cumsum([0, *lengths])
    if (target / SHARDS_FILE).exists():
        _same_division(first, target, "the target")
    scale = Stamps.from_files(shard_path(first, 0), survey).pixel_scale
    real = Stamps.from_files(target, survey, pixel_scale=scale)
    if len(real) != starts[-1]:
        msg = f"the target {target} has {len(real)} stamps, the shards {starts[-1]}; give those of the same galaxies"
        raise ValueError(msg)
    settings = {
        "translated": translated, "made": {name: _made(path) for name, path in translated.items()},
        "target": str(target), "target_made": _made(target), "levels": list(levels), "survey": survey.to_dict(),
    }  # fmt: skip
    some = real[np.unique(np.linspace(0, len(real) - 1, RANGE_OF).astype(int))]
    ends = data_ranges(some, progress=progress) if "pixel" in levels else None
    with held(output):
        _run(
            _compare_shard, output, settings | {"version": __version__}, levels, number, client, progress,
            target=target, translated=translated, survey=survey, starts=starts, ends=ends,
        )  # fmt: skip
        found, known = {}, {"target": str(target), "translated": ", ".join(translated), "pixel_scale": scale}
        for level in levels:
            tables = ShardTables(output, level, number, survey.band_names, most, bootstrap.seed)
            about = {"galaxies": tables.galaxies, "bands": list(survey.band_names)} | known
            found[level] = LEVELS[level].result(tables, tuple(translated), some, ends, bootstrap, about)
            found[level].report(output / level, format=format, overwrite=True)
        write_index(output, found, {}, about)
    return found


def _known(what, known, elsewhere=()):
    unknown = [name for name in what if name not in known]
    if unknown or not what:
        msg = f"expected some of {', '.join(known)}, got {', '.join(unknown) or 'none'}"
        raise ValueError("; ".join([msg, *(elsewhere[name] for name in unknown if name in elsewhere)]))


def _count(folder):
    number = read_settings(folder)["shards"]
    missing = sum(not shard_path(folder, k).exists() for k in range(number))
    if missing:
        msg = f"{folder} is not complete: {missing} of {number} shards are missing; translate again"
        raise FileNotFoundError(msg)
    return number


def _survey(folder, survey):
    known = read_settings(folder)["survey"]
    return get_survey(known["name"] if survey is None else survey).select([band["name"] for band in known["bands"]])


def _made(folder):
    """What tells one set of shards from another."""
    place = Path(folder) / SHARDS_FILE
    return fingerprint(place.read_bytes()) if place.exists() else Path(folder).stat().st_mtime


def _same_division(first, other, name):
    """Raise ValueError unless both folders have the same objects in each shard."""
    number = _count(first)
    same = _count(other) == number
    if not (same and all(np.array_equal(*(open_shard(f, k)["row"][:] for f in (first, other))) for k in range(number))):
        msg = f"the shards of {name} are not of the same objects as those of {first}; translate one catalogue for both"
        raise ValueError(msg)


def _run(function, output, settings, what, number, client, progress, **common):
    """Let shards be done whose tables are not there."""
    for package in ("pyarrow", "pandas"):  # astropy 8 reads Parquet with both
        require(package, "scale")
    check_settings(output / "settings.json", settings)
    todo = [k for k in range(number) if not all(table_path(output, name, k).exists() for name in what)]
    if todo:
        check_workers(client)
    with tqdm(total=number, initial=number - len(todo), unit="shard", disable=None if progress else True) as bar:
        for _ in done_by(function, todo, client=client, output=output, what=list(what), **common):
            bar.update()


def _measure_shard(number, folder, output, what, survey):
    """Measure the galaxies of a shard, and write a table of each kind of measurement."""
    group, stamps = open_shard(folder, number), Stamps.from_files(shard_path(folder, number), survey)
    good = np.flatnonzero(group["flags"][:] & 1 == 0)
    for name in what:
        table = _place(MEASURES[name](stamps[_some(good)], progress=False), group, good)
        write_table(table, table_path(output, name, number))


def _compare_shard(number, target, translated, output, what, survey, starts, ends):
    """Compare the galaxies of a shard, and write a table of each level."""
    groups = {name: open_shard(folder, number) for name, folder in translated.items()}
    first = next(iter(groups.values()))
    good = np.all([group["flags"][:] & 1 == 0 for group in groups.values()], axis=0)
    ours = {name: Stamps.from_files(shard_path(folder, number), survey) for name, folder in translated.items()}
    if (target / SHARDS_FILE).exists():
        real = Stamps.from_files(shard_path(target, number), survey)
        good &= open_shard(target, number)["flags"][:] & 1 == 0
    else:
        like = next(iter(ours.values()))
        whole = Stamps.from_files(target, survey, pixel_scale=like.pixel_scale)
        real = whole[slice(*map(int, starts[number : number + 2]))]
    rows = np.flatnonzero(good)
    for level in what:
        some = _some(rows)
        table = LEVELS[level].galaxies(real[some], {name: stamps[some] for name, stamps in ours.items()}, ends)
        table = _place(table, first, rows)
        write_table(table, table_path(output, level, number))


def _some(rows):
    """Return rows of galaxies, or the first one where all of a shard failed: a table without rows has its columns."""
    return rows if len(rows) else np.array([0])


def _place(table, group, rows):
    """Return a table with the rows of the catalogue, and the positions."""
    table = table if len(rows) else table[:0]
    of = np.asarray(table["row"])
    for name in ("row", "ra", "dec", "flags"):
        table["survey_flags" if name == "flags" else name] = group[name][:][rows][of]
    return table


def _statistics(name, tables, bootstrap):
    """Yield rows of the statistics of the quantities that were measured."""
    for quantity, unit in tables.quantities.items():
        if quantity.endswith("_err"):
            continue
        (columns,) = tables.values((quantity,))
        for band, values in zip(tables.bands, columns.T, strict=True):
            values = values[np.isfinite(values)].astype(float)
            parts = centre_and_scatter(values, n=bootstrap.resamples, seed=bootstrap.seed, level=bootstrap.level)
            for statistic, part in zip(("median", "scatter"), parts.values(), strict=True):
                yield {
                    "measured": name, "band": band, "quantity": quantity, "statistic": statistic, "value": part.value,
                    "low": part.low, "high": part.high, "n": len(values), "unit": unit,
                }  # fmt: skip
