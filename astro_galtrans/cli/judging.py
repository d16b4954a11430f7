"""Subcommands that judge translations, and those that give redshifts, of images and of spectra."""

from pathlib import Path

from ._common import add_workers, bands, command, given, print_table, tell, workers

__all__ = ["COMMANDS"]

#: Options of fidelity that need all stamps in one process, or say what shards say themselves.
UNSHARED = (
    "bins", "take", "number", "n_samples", "catalogue", "detect", "size", "faint", "source_survey", "source_bands",
    "target_bands", "source_fwhm", "target_fwhm", "pixel_scale",
)  # fmt: skip


def _add_fidelity(commands):
    text = "Compare translated with real images: pixels, photometry, morphology, and what the source contradicts."
    parser = command(commands, "fidelity", _fidelity, text)
    parser.add_argument(
        "source", metavar="SOURCE",
        help="a folder of pairs; or stamps of the source survey ([N, C, H, W] in .npy or FITS, or a folder of files); "
        "or its frames, FITS images with world coordinates (a file, a folder, a quoted glob, or some with commas)",
    )  # fmt: skip
    parser.add_argument(
        "images", metavar="TARGET TRANSLATED", nargs="*",
        help="stamps or frames of the target survey, as SOURCE (left out after a folder of pairs, which holds them), "
        "then those of each translation: PATH, or NAME=PATH",
    )  # fmt: skip
    parser.add_argument(
        "--shards", action="store_true",
        help="compare shards of a survey: TARGET, then TRANSLATED, no SOURCE; by pixel, photometry and morphology, not "
        "by anomaly or redshift",
    )  # fmt: skip
    add_workers(parser)
    _add_shared(parser)
    _add_sides(parser)
    parser.add_argument(
        "--skip", nargs="+", default=[], metavar="LEVEL", choices=["pixel", "photometry", "morphology", "anomaly"],
        help="leave out: pixel, photometry, morphology, anomaly",
    )  # fmt: skip
    parser.add_argument(
        "--take",
        default="first",
        choices=["first", "mean", "both"],
        help="which of several samples to judge (%(default)s)",
    )


def _add_measure(commands):
    text = "Measure the galaxies of a translated survey (galtrans translate --catalogue): tables and statistics."
    parser = command(commands, "measure", _measure, text)
    parser.add_argument("shards", metavar="SHARDS", help="folder that galtrans translate --catalogue wrote")
    parser.add_argument(
        "--what", nargs="+", default=["photometry"], choices=["photometry", "morphology"],
        help="kinds of measurement (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--survey", metavar="SURVEY", help="whose sky noise is assumed; by default the translator's")
    parser.add_argument("--seed", type=int, default=0, help="seed of the intervals (%(default)s)")
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="folder of the tables, one for each shard; kept if there"
    )
    add_workers(parser)


def _measure(options):
    from astro_galtrans.statistics.bootstrap import Bootstrap
    from astro_galtrans.survey import measure_shards

    with workers(options) as client:
        table = measure_shards(
            options.shards, options.output, options.what, survey=options.survey, client=client,
            bootstrap=Bootstrap(seed=options.seed),
        )  # fmt: skip
    print_table(table)
    print(Path(options.output) / "statistics.ecsv")


def _compare_shards(options):
    from astro_galtrans.statistics.bootstrap import Bootstrap
    from astro_galtrans.survey import compare_shards
    from astro_galtrans.survey.levels import ELSEWHERE, LEVELS

    if options.models or not options.images:
        msg = "with shards, give TARGET, then TRANSLATED: folders that galtrans translate --catalogue wrote"
        raise ValueError(msg)
    unfit = [name for name in UNSHARED if getattr(options, name) != options.parser.get_default(name)]
    if unfit:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in unfit)
        msg = f"{names} cannot be had of shards; without --shards: galtrans fidelity SOURCE TARGET NAME=SHARDS"
        raise ValueError(msg)
    levels = [level for level in LEVELS if level not in options.skip]
    if not levels:
        msg = f"--skip leaves nothing to compare: shards have the levels {', '.join(LEVELS)}"
        raise ValueError(msg)
    if "anomaly" not in options.skip:
        tell(f"compared by {', '.join(levels)}; {ELSEWHERE['anomaly']} (--skip anomaly leaves this out)")
    with workers(options) as client:
        found = compare_shards(
            options.source, _named(options.images), options.output, levels, survey=options.target_survey, client=client,
            bootstrap=Bootstrap(seed=options.seed), format=options.format,
        )  # fmt: skip
    _show(found, options.output)


def _show(results, output):
    """Print what is in the reports of each level, and where the page is that links them."""
    for level, result in results.items():
        print(f"{level}: {', '.join(f'{name} ({len(table)})' for name, table in result.tables.items())}")
    print(Path(output) / "index.html")


def _add_sides(parser):
    """Add the options that say what the images of source and target are, and how anomalies are looked for."""
    for side in ("source", "target"):
        parser.add_argument(f"--{side}-survey", metavar="SURVEY", help="whose stamps or frames: a name or .ecsv file")
        parser.add_argument(
            f"--{side}-bands", type=bands, metavar="BANDS", help="its bands, e.g. g,r,i; by default all"
        )
        parser.add_argument(
            f"--{side}-fwhm", metavar="ARCSEC", type=_numbers, help="seeing of the stamps, one or one per band, 1.2,1.1"
        )
    parser.add_argument(
        "--pixel-scale", type=float, metavar="ARCSEC", help="pixel scale of the source's stamps, if not the survey's"
    )
    parser.add_argument("--catalogue", metavar="TABLE", help="objects to cut out of frames, with sky coordinates")
    parser.add_argument("--detect", action="store_true", help="find the objects in the frames instead")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="side of stamps cut out of frames (source pixels)")
    parser.add_argument("--faint", type=float, metavar="MAG", help="faintest object found, or cut (AB)")
    parser.add_argument("--no-colour-terms", action="store_true", help="take the filters of both surveys for the same")


def _fidelity(options):
    from astro_galtrans.fidelity.files import LEVELS, fidelity_from_files, is_store

    if options.shards:
        return _compare_shards(options)
    if options.workers or options.scheduler:
        msg = "--workers and --scheduler share shards of a survey; give --shards"
        raise ValueError(msg)
    rest = list(options.images)
    target = None if is_store(options.source) or not rest else rest.pop(0)
    source, target, translated, frames = _images(options, target, rest)
    settings = {level: {"take": options.take} for level in ("pixel", "photometry", "morphology")}
    results = fidelity_from_files(
        source, target, translated, options.output, frames=frames,
        levels=[level for level in LEVELS if level not in options.skip], **_judging(options, settings),
    )  # fmt: skip
    _show(results, options.output)
    return 0


def _judging(options, settings):
    """Return the options of `fidelity_from_files` that do not depend on the images."""
    from astro_galtrans.statistics.bootstrap import Bootstrap

    anomaly = {"colour_terms": None if options.no_colour_terms else "fit"}
    psf = {"source": options.source_fwhm, "target": options.target_fwhm}
    return {
        "psf": {side: fwhm for side, fwhm in psf.items() if fwhm is not None}, "bins": options.bins,
        "number": options.number, "bootstrap": Bootstrap(seed=options.seed), "format": options.format,
        "options": settings | {"anomaly": anomaly, "translate": {"n_samples": options.n_samples}},
    }  # fmt: skip


def _images(options, target, rest):
    """Return source, target, translations by name, and the settings for frames (None for stamps and pairs)."""
    from astro_galtrans.fidelity.files import is_store
    from astro_galtrans.fidelity.files.frames import are_frames
    from astro_galtrans.fidelity.files.inputs import stamps_of_both, stamps_of_source

    if is_store(options.source):
        return options.source, target, _named(rest) | _translators(options.models), None
    source, target, frames = _paths(options.source), target and _paths(target), None
    names = {"source": options.source_bands, "target": options.target_bands}
    surveys = {"source": options.source_survey, "target": options.target_survey}
    if options.catalogue or options.detect or are_frames(source):
        frames = {f"{side}_survey": survey for side, survey in surveys.items()}
        frames |= {f"{side}_bands": chosen for side, chosen in names.items()}
        frames |= given(options, "catalogue", "size", "faint")
    elif target is not None:
        source, target = stamps_of_both((source, target), surveys.values(), names.values(), options.pixel_scale)
    elif options.run is _anomalies:
        source = stamps_of_source(source, surveys["source"], names["source"], options.pixel_scale)
    return source, target, _named(rest) | _translators(options.models), frames


def _add_anomalies(commands):
    text = "Find galaxies whose translation the source contradicts, and what changed between two surveys."
    parser = command(commands, "anomalies", _anomalies, text)
    parser.add_argument("source", metavar="SOURCE", help="pairs, stamps or frames, as for galtrans fidelity")
    parser.add_argument("images", metavar="TRANSLATED", nargs="*", help="translations of them: PATH, or NAME=PATH")
    parser.add_argument("--target", metavar="TARGET", help="real images of the target, not needed with stamps or pairs")
    parser.add_argument("--show", type=int, default=10, metavar="N", help="how many to print (%(default)s)")
    _add_shared(parser)
    _add_sides(parser)


def _anomalies(options):
    from astro_galtrans.fidelity.files import anomalies_from_files

    source, target, translated, frames = _images(options, options.target, options.images)
    table = anomalies_from_files(
        source, translated, options.output, target=target, frames=frames, **_judging(options, {})
    )
    for name in dict.fromkeys(table["model"]):
        of_model = table[table["model"] == name]
        print(f"{name}: {of_model['anomalous'].sum()} of {len(of_model)} galaxies are anomalous")
    shown = [name for name in (*table.colnames[:9], "ra", "dec") if name in table.colnames]
    print_table(table[shown][: options.show])
    print(Path(options.output) / "anomalies.ecsv", Path(options.output) / "index.html", sep="\n")


def _add_shared(parser):
    """Add the options that the commands which judge share."""
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="folder of the results; finished parts are kept"
    )
    parser.add_argument("-m", "--models", nargs="+", default=[], metavar="NAME", help="translators: names or files")
    parser.add_argument("--number", type=int, metavar="N", help="judge by the first N galaxies only")
    parser.add_argument("--n-samples", type=int, metavar="N", help="samples of translators that sample")
    parser.add_argument("--bins", type=int, default=5, metavar="N", help="bins of equally many galaxies (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers (%(default)s)")
    parser.add_argument("--format", default="ecsv", choices=["ecsv", "fits"], help="format of the tables (%(default)s)")


def _add_redshift(commands):
    text = "Measure what translations keep of the redshift: tables, figures and a page."
    parser = command(commands, "redshift", _redshift, text)
    parser.add_argument("pairs", metavar="PAIRS", help="folder of pairs whose table has redshifts")
    _add_shared(parser)
    parser.add_argument(
        "--translated", nargs="+", default=[], metavar="NAME=PATH[,PATH]",
        help="stamps that are already translated, .npy or FITS files or folders, of all pairs with a redshift",
    )  # fmt: skip
    parser.add_argument(
        "--train", metavar="PAIRS", help="train the estimators on these; by default on the part of PAIRS for that"
    )
    parser.add_argument("--train-number", type=int, metavar="N", help="train on the first N of --train only")
    parser.add_argument(
        "--estimator", default="image", choices=["image", "photometric"], help="kind of photo-z estimator (%(default)s)"
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="training epochs of the estimators")
    parser.add_argument("--members", type=int, metavar="N", help="networks in an ensemble, whose PDFs are averaged")
    parser.add_argument("--crop", type=int, metavar="PIXELS", help="look at the middle of the source stamps only")
    parser.add_argument("--z", default="z", metavar="COLUMN", help="column of the redshift (%(default)s)")
    parser.add_argument("--magnitude", metavar="COLUMN", help="magnitude to bin by (r, if there is one)")
    parser.add_argument("--ebv", metavar="COLUMN", help="Galactic E(B-V), to tell the estimators")
    parser.add_argument("--floor", type=float, default=0.0, metavar="W", help="share of the prior in every PDF")
    parser.add_argument("--no-peaks", action="store_true", help="leave peak fluxes out")


def _redshift(options):
    from astro_galtrans.fidelity.files import redshift_from_files
    from astro_galtrans.statistics.bootstrap import Bootstrap

    columns = {"z_spec": options.z, "ebv": options.ebv}
    columns |= {} if options.magnitude is None else {"magnitude": options.magnitude}
    fidelity, _ = redshift_from_files(
        options.pairs, _named(options.translated) | _translators(options.models), options.output,
        training_pairs=options.train, columns=columns, number=(options.number, options.train_number), crop=options.crop,
        peaks=not options.no_peaks, translate={"n_samples": options.n_samples}, bootstrap=Bootstrap(seed=options.seed),
        **given(options, "estimator", "epochs", "members", "bins", "floor", "format"),
    )  # fmt: skip
    print_table(fidelity.ratios["model", "quantity", "value", "low", "high", "n"])
    print(Path(options.output) / "report.html")


def _add_photoz(commands):
    text = "Estimate redshifts from images of one survey with an estimator for another: PDFs averaged over samples."
    parser = command(commands, "photoz", _photoz, text)
    parser.add_argument("estimator", metavar="ESTIMATOR", help="file of an estimator trained on real target images")
    parser.add_argument(
        "images", metavar="IMAGES",
        help="a folder of pairs, whose sources are taken; or stamps of galaxies ([N, C, H, W] in .npy or FITS, or a "
        "folder of files)",
    )  # fmt: skip
    parser.add_argument("-m", "--model", required=True, metavar="NAME", help="a translator that samples: name or file")
    parser.add_argument("-o", "--output", required=True, metavar="TABLE", help="ECSV file of redshifts, a row a galaxy")
    parser.add_argument("--pdfs", metavar="FITS", help="file of the PDFs, too")
    parser.add_argument("--n-samples", type=int, default=32, metavar="N", help="samples of a galaxy (%(default)s)")
    parser.add_argument("--number", type=int, metavar="N", help="the first N galaxies only")
    parser.add_argument("--survey", help="whose stamps, a name or .ecsv file; a folder of pairs says so itself")
    parser.add_argument("--bands", type=bands, metavar="BANDS", help="its bands in the stamps, e.g. g,r,i; else all")
    parser.add_argument("--pixel-scale", type=float, metavar="ARCSEC", help="of the stamps, if not the survey's")
    parser.add_argument("--fwhm", type=_numbers, metavar="ARCSEC", help="seeing of stamps, one or one per band")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (%(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")


def _photoz(options):
    from astro_galtrans import load_translator
    from astro_galtrans.fidelity.files import is_store
    from astro_galtrans.pairs.store import PairStore
    from astro_galtrans.photoz import load, predict_averaged
    from astro_galtrans.stamps import Stamps

    for path in filter(None, (options.output, options.pdfs)):
        if Path(path).exists() and not options.overwrite:
            msg = f"{path} is there already; --overwrite replaces it"
            raise FileExistsError(msg)
    if is_store(options.images):
        stamps = Stamps.from_pairs(PairStore(options.images), "source")
    elif options.survey is None:
        msg = "stamps do not say whose they are: give --survey, a name or an .ecsv file (galtrans survey lists names)"
        raise ValueError(msg)
    else:
        known = given(options, "bands", "pixel_scale") | ({} if options.fwhm is None else {"psf": options.fwhm})
        stamps = Stamps.from_files(_paths(options.images), options.survey, **known)
    parts = load(options.estimator), load_translator(options.model), stamps[: options.number]
    found = predict_averaged(*parts, n_samples=options.n_samples, seed=options.seed)
    table = found.to_table()
    table.write(options.output, format="ascii.ecsv", overwrite=options.overwrite)
    if options.pdfs:
        found.write(options.pdfs, overwrite=options.overwrite)
    print(f"{options.output}: redshifts of {len(table)} galaxies, averaged over {options.n_samples} samples")


def _translators(models):
    from astro_galtrans import load_translator

    translators = map(load_translator, models)
    return {translator.name: translator for translator in translators}


def _named(arguments):
    """Return the paths of translations by name, from NAME=PATH, or from PATH, named after its file."""
    found = {}
    for argument in arguments:
        name, _, paths = argument.rpartition("=")
        name = name or Path(paths).name.split(".")[0]
        if name in found:
            msg = f"two translations are called {name!r}; say NAME=PATH"
            raise ValueError(msg)
        found[name] = _paths(paths)
    return found


def _paths(text):
    paths = text.split(",")
    return paths[0] if len(paths) == 1 else paths


def _numbers(text):
    values = [float(part) for part in text.split(",")]
    return values[0] if len(values) == 1 else values


def _add_zspec(commands):
    parser = command(commands, "zspec", _zspec, "Measure the redshifts of spectra: a catalogue with quality flags.")
    parser.add_argument("files", metavar="FILE", nargs="+", help="files of spectra, or folders of them")
    parser.add_argument("-o", "--output", required=True, metavar="TABLE", help="ECSV file; goes on where it stopped")
    parser.add_argument("--z-max", type=float, default=1.2, metavar="Z", help="highest redshift (%(default)s)")
    parser.add_argument(
        "--medium", choices=("auto", "vacuum", "air"), default="auto", help="what wavelengths refer to (%(default)s)"
    )
    parser.add_argument("--format", metavar="NAME", help="reader of specutils, where the file does not tell")


def _zspec(options):
    from astro_galtrans.spectra import Flag, catalogue

    settings = {"z_range": (-0.01, options.z_max), "medium": options.medium, "file_format": options.format}
    table = catalogue(options.files, options.output, **settings)
    print(f"{options.output}: {(table['flag'] == 0).sum()} of {len(table)} spectra have a redshift without a flag")
    return int(all(table["flag"] & Flag.UNREADABLE))


COMMANDS = _add_measure, _add_fidelity, _add_anomalies, _add_redshift, _add_photoz, _add_zspec
