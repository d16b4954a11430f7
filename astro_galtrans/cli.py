"""``galtrans``: the package from the command line. Each subcommand is a few lines that call the Python API."""

import argparse
import json
import os
import sys
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path

from astro_galtrans._plain import printable

__all__ = ["main"]

DEFAULT_PAIRS = 1024


def main(arguments=None):
    """
    Run ``galtrans``.

    Parameters
    ----------
    arguments : list of str, optional
        Command-line arguments, without the program's name.

    Returns
    -------
    int
        0 if all went well, 1 if something failed (the reason is on standard error), 130 if interrupted.
    """
    _open_streams()
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _short_warning
            return options.run(options) or 0
    except KeyboardInterrupt:
        _tell("interrupted; the same command goes on where it stopped")
        return 130
    except Exception as err:  # a command's user wants the reason, not where in the code it showed
        if options.traceback:
            raise
        # a KeyError's text is the repr of its message
        reason = err.args[0] if isinstance(err, KeyError) and err.args else err
        _tell(f"{type(err).__name__}: {reason}")
        return 1


def _short_warning(message, category, *_place, **_options):
    _tell(f"{category.__name__}: {message}")


def _tell(text):
    """Write to standard error, if somebody listens; what comes out of files may not steer the terminal."""
    with suppress(OSError, ValueError):  # closed, or a pipe whose reader has gone
        sys.stderr.write(f"galtrans: {printable(text)}\n")


def _open_streams():
    """
    Open the standard streams that the caller closed, to nowhere.

    Else the next file that is opened gets their number, and what libraries write to standard error goes into it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf8", closefd=False))  # noqa: SIM115


def _parser():
    from astro_galtrans import __version__

    parser = argparse.ArgumentParser(prog="galtrans", description="Translate galaxy images between surveys.")
    parser.add_argument("--version", action="version", version=f"astro_galtrans {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error arose")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    ways_in = _add_list, _add_info, _add_survey, _add_demo
    judging = _add_fidelity, _add_redshift, _add_zspec
    for add in (*ways_in, _add_translate, _add_simulate, _add_pairs, _add_train, _add_calibrate, *judging):
        add(commands)
    return parser


def _command(commands, name, run, text):
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    return parser


# -- list, info


def _add_list(commands):
    _command(commands, "list", _list, "List the shipped translators, the networks, surveys and recipes.")


def _list(_options):
    from astro_galtrans import list_surveys, list_translators, load_translator
    from astro_galtrans.models.registry import list_models
    from astro_galtrans.training import list_recipes

    for name in list_translators():
        print(f"{name:24} {printable(load_translator(name).card['description'])}")
    for what, names in (("networks", list_models()), ("surveys", list_surveys()), ("recipes", list_recipes())):
        print(f"{what}: {', '.join(names)}")


def _add_info(commands):
    parser = _command(commands, "info", _info, "Print a translator's card: data, recipe, range of inputs, scores.")
    parser.add_argument("name", metavar="NAME", help="a shipped translator, or a .safetensors file")
    parser.add_argument("--json", action="store_true", help="as JSON")


def _info(options):
    from astro_galtrans.models.checkpoint import read_card
    from astro_galtrans.models.describe import describe
    from astro_galtrans.models.shipped import find_weights

    card = read_card(find_weights(options.name))
    if options.json:
        print(json.dumps(card, indent=1))
        return
    print(printable(describe(card)))


# -- survey


def _add_survey(commands):
    parser = _command(
        commands, "survey", _survey, "Describe a survey, with the sources of the numbers; or all, briefly."
    )
    parser.add_argument("name", nargs="?", metavar="SURVEY", help="a name, or a survey file of your own")


def _survey(options):
    from astro_galtrans.surveys import get_survey, list_surveys

    if options.name:
        print(get_survey(options.name).describe())
        return
    for name in list_surveys():
        survey = get_survey(name)
        print(f"{name:18} {' '.join(survey.band_names):24} {survey.pixel_scale:5.3f} arcsec  {survey.title}")


# -- translate


def _add_translate(commands):
    parser = _command(commands, "translate", _translate, "Translate FITS images of one survey into another's.")
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE",
        help="FITS files: the bands of one image; or, if OUT is a folder, many images: multi-band files, per-band files"
        " that differ in the band's letter only, folders of such, or @LIST, a text file with one image a line",
    )  # fmt: skip
    parser.add_argument(
        "-m", "--model", required=True, metavar="NAME", help="a shipped translator, or a .safetensors file"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT", help="FITS file, or folder (made if it ends in /)"
    )
    parser.add_argument(
        "--bands", nargs="+", metavar="BAND", help="bands of the files, in order, if headers do not say"
    )
    parser.add_argument("--unit", help="unit of the pixels, if headers do not say")
    parser.add_argument("--zeropoint", type=float, metavar="MAG", help="AB magnitude of one count")
    parser.add_argument("--n-samples", type=int, metavar="N", help="samples averaged, for a translator that samples")
    parser.add_argument("--seed", type=int, help="seed of the samples")
    parser.add_argument("--output-grid", choices=["target"], help="resample to the target survey's own pixels")
    parser.add_argument("--no-align", action="store_true", help="refuse bands on different grids")
    parser.add_argument("--strict", action="store_true", help="refuse images unlike those of the training")
    parser.add_argument("--tile", type=int, nargs="+", metavar="N", help="rows and columns of a tile (source pixels)")
    parser.add_argument("--device", help="cpu, cuda, ...; by default CUDA where there is one")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files; else a folder's are skipped")


def _translate(options):
    from astro_galtrans.batch import is_folder, translate_file, translate_files

    tile = options.tile and (options.tile[0] if len(options.tile) == 1 else tuple(options.tile))
    settings = {
        "bands": options.bands, "unit": options.unit, "zeropoint": options.zeropoint, "n_samples": options.n_samples,
        "seed": options.seed, "output_grid": options.output_grid, "align": not options.no_align,
        "strict": options.strict, "tile": tile, "device": options.device,
    }  # fmt: skip
    if not is_folder(options.output):
        translate_file(options.images, options.model, options.output, overwrite=options.overwrite, **settings)
        print(options.output)
        return 0
    counts = Counter()
    failures = translate_files(
        options.images, options.model, options.output, overwrite=options.overwrite,
        report=lambda _name, what: counts.update([what]), **settings,
    )  # fmt: skip
    for image, reason in failures.items():
        _tell(f"{image}: {reason}")
    skipped = f", {counts['skipped']} skipped: made before by the same request" if counts["skipped"] else ""
    print(f"{options.output}: {counts['translated']} images translated{skipped}, {counts['failed']} failed")
    return 1 if failures else 0


# -- simulate, train


def _add_simulate(commands):
    parser = _command(commands, "simulate", _simulate, "Simulate pairs of images, for training and tests.")
    parser.add_argument("directory", metavar="DIR", help="where to; an unfinished set there is completed")
    parser.add_argument(
        "-n", "--number", type=int, default=DEFAULT_PAIRS, help="pairs, in whole shards of 64 (%(default)s)"
    )
    for end, default in (("source", "sdss"), ("target", "cfhtls-wide")):
        parser.add_argument(
            f"--{end}", default=default, metavar="SURVEY", help=f"{end} survey: a name or a survey file (%(default)s)"
        )
        parser.add_argument(f"--{end}-bands", metavar="BANDS", help="some of its bands, e.g. g,r,i; by default all")
    parser.add_argument("--scale", type=int, help="target pixels per source pixel; by default from the pixel scales")
    parser.add_argument(
        "--size", type=int, help="side of the stamps, in source pixels; by default from the pixel scale"
    )
    parser.add_argument("--seed", type=int, default=1, help="another seed, other pairs (%(default)s)")
    parser.add_argument("--workers", type=int, help="processes; by default one per core")


def _simulate(options):
    from astro_galtrans.pairs.simulated import PairSettings, simulate_pairs

    names = ("source", "target", "source_bands", "target_bands", "scale", "size", "seed")
    settings = PairSettings(**{name: getattr(options, name) for name in names})
    print(simulate_pairs(options.directory, options.number, settings, workers=options.workers))


def _add_train(commands):
    parser = _command(
        commands, "train", _train, "Train a translator on pairs, or on those that the recipe says how to simulate."
    )
    parser.add_argument("recipe", metavar="RECIPE", help="TOML file, or the name of a shipped recipe")
    parser.add_argument("pairs", metavar="PAIRS", nargs="?", help="folder of pairs; by default DIR/pairs, simulated")
    parser.add_argument(
        "held_out", metavar="VALIDATION", nargs="?",
        help="other pairs, to validate, calibrate and score with; by default the parts of PAIRS for that",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="folder for checkpoints, logs and the translator"
    )
    parser.add_argument("--init", metavar="NAME", help="start from this translator, a shipped one or a file")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: a GPU if there is one (%(default)s)")
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="so many of them at once (%(default)s)")
    parser.add_argument("--precision", default="32-true", help="32-true or bf16-mixed (%(default)s)")
    parser.add_argument("--hours", type=float, help="end after this time, whatever the recipe says")
    parser.add_argument("--steps", type=int, help="optimizer steps, whatever the recipe says")
    parser.add_argument("--source", metavar="SURVEY", help="of pairs to simulate: a name or a survey file")
    parser.add_argument("--target", metavar="SURVEY", help="likewise")
    for end in ("source", "target"):
        parser.add_argument(f"--{end}-bands", type=_bands, metavar="BANDS", help="some of its bands, e.g. g,r,i")
    parser.add_argument("--number", type=int, metavar="N", help="how many pairs to simulate for the training")
    parser.add_argument("--fields", action=_PrintFields, nargs=0, help="print what a recipe may say, and stop")


class _PrintFields(argparse.Action):
    """Print the fields of a recipe, and stop."""

    def __call__(self, parser, *_arguments):
        from astro_galtrans.training.recipe import describe_fields

        for section, rows in describe_fields().items():
            print(f"[{section}]" if section else "above all sections")
            for name, kind, default, meaning in rows:
                told = f"{kind}, default {default}" if default else f"{kind}, must be given"
                print(f"  {name} ({told}): {meaning.replace('`', '')}")
        parser.exit()


def _train(options):
    from astro_galtrans.pairs.store import PairStore
    from astro_galtrans.training import load_recipe, train
    from astro_galtrans.training.train import simulate_for

    wanted = _given(options, "source", "target", "source_bands", "target_bands", "number")
    recipe = load_recipe(options.recipe, pairs=wanted, **_given(options, "hours", "steps"))
    if options.pairs:
        stores = [path and PairStore(path) for path in (options.pairs, options.held_out)]
    else:
        stores = simulate_for(recipe, options.output)
    print(train(recipe, *stores, options.output, **_given(options, "init", "device", "devices", "precision")))


def _bands(text):
    from astro_galtrans.bands import parse_bands

    return list(parse_bands(text))


def _given(options, *names):
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


# -- calibrate


def _add_calibrate(commands):
    parser = _command(commands, "calibrate", _calibrate, "Calibrate a translator on pairs of your own, and score it.")
    parser.add_argument("name", metavar="TRANSLATOR", help="a shipped translator, or a .safetensors file")
    parser.add_argument("pairs", metavar="PAIRS", help="folder of pairs that it was not trained on")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the translator file to write")
    parser.add_argument("--n-samples", type=int, metavar="N", help="samples averaged, for a translator that samples")


def _calibrate(options):
    from astro_galtrans.models.describe import describe
    from astro_galtrans.pairs.store import PairStore
    from astro_galtrans.training import recalibrate

    card = recalibrate(options.name, PairStore(options.pairs), options.output, n_samples=options.n_samples)
    kept = ("name", "description", "calibration", "scores")
    print(describe({key: card[key] for key in kept if key in card}))


# -- fidelity


def _add_fidelity(commands):
    text = "Compare translated with real images: pixels, photometry, morphology, and what the source contradicts."
    parser = _command(commands, "fidelity", _fidelity, text)
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
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="where to; what is done there is kept")
    parser.add_argument(
        "-m", "--models", nargs="+", default=[], metavar="NAME", help="with pairs: translators, by name or file"
    )
    parser.add_argument(
        "--skip", nargs="+", default=[], metavar="LEVEL", choices=["pixel", "photometry", "morphology", "anomaly"],
        help="leave out: pixel, photometry, morphology, anomaly",
    )  # fmt: skip
    for side in ("source", "target"):
        parser.add_argument(f"--{side}-survey", metavar="SURVEY", help="whose stamps or frames: a name or .ecsv file")
        parser.add_argument(f"--{side}-bands", type=_bands, metavar="BANDS", help="theirs, e.g. g,r,i; by default all")
        parser.add_argument(
            f"--{side}-fwhm", metavar="ARCSEC", type=_numbers, help="seeing of the stamps, one or one per band, 1.2,1.1"
        )
    parser.add_argument(
        "--pixel-scale", type=float, metavar="ARCSEC", help="of the source's stamps, if not the survey's"
    )
    parser.add_argument("--catalogue", metavar="TABLE", help="objects to cut out of frames, with sky coordinates")
    parser.add_argument("--detect", action="store_true", help="find the objects in the frames instead")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="side of stamps cut out of frames (source pixels)")
    parser.add_argument("--faint", type=float, metavar="MAG", help="faintest object found, or cut (AB)")
    parser.add_argument("--number", type=int, metavar="N", help="the first N galaxies only")
    parser.add_argument("--n-samples", type=int, metavar="N", help="samples of translators that sample")
    parser.add_argument(
        "--take", default="first", choices=["first", "mean", "both"], help="of several samples (%(default)s)"
    )
    parser.add_argument("--bins", type=int, default=5, metavar="N", help="bins of equally many galaxies (%(default)s)")
    parser.add_argument("--no-colour-terms", action="store_true", help="take the filters of both surveys for the same")
    parser.add_argument(
        "--degrade-source", action="store_true", help="look for anomalies at the target's PSF, if it is broader"
    )
    parser.add_argument("--seed", type=int, default=0, help="of samples, bootstrap and blank sky (%(default)s)")
    parser.add_argument("--format", default="ecsv", choices=["ecsv", "fits", "parquet"], help="of tables (%(default)s)")


def _fidelity(options):
    from astro_galtrans.fidelity.files import LEVELS, fidelity_from_files, is_store

    source, rest = options.source, list(options.images)
    target = None if is_store(source) or not rest else _paths(rest.pop(0))
    names = (
        "models", "source_survey", "target_survey", "source_bands", "target_bands", "pixel_scale", "catalogue",
        "detect", "size", "faint", "number", "n_samples", "take", "bins", "degrade_source", "seed", "format",
    )  # fmt: skip
    results = fidelity_from_files(
        source if is_store(source) else _paths(source), target, _translated(rest), options.output,
        levels=[level for level in LEVELS if level not in options.skip], source_psf=options.source_fwhm,
        target_psf=options.target_fwhm, colour_terms=None if options.no_colour_terms else "fit",
        **_given(options, *names),
    )  # fmt: skip
    for level, result in results.items():
        print(f"{level}: {', '.join(f'{name} ({len(table)})' for name, table in result.tables.items())}")
    print(Path(options.output) / "index.html")


def _translated(arguments):
    """Translations by name: of NAME=PATH, or called by their file."""
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


# -- redshift


def _add_redshift(commands):
    text = "Measure what translations keep of the redshift: tables, figures and a page."
    parser = _command(commands, "redshift", _redshift, text)
    parser.add_argument("pairs", metavar="PAIRS", help="folder of pairs whose table has redshifts")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="where to; what is done there is kept")
    parser.add_argument("-m", "--models", nargs="+", default=[], metavar="NAME", help="translators: names or files")
    parser.add_argument(
        "--translated", nargs="+", default=[], metavar="NAME=PATH[,PATH]",
        help="stamps that are already translated, .npy or FITS files or folders, of all pairs with a redshift",
    )  # fmt: skip
    parser.add_argument(
        "--train", metavar="PAIRS", help="train the estimators on these; by default on the part of PAIRS for that"
    )
    parser.add_argument("--number", type=int, metavar="N", help="test on the first N only")
    parser.add_argument("--train-number", type=int, metavar="N", help="train on the first N of --train only")
    parser.add_argument(
        "--estimator", default="image", choices=["image", "photometric"], help="who judges (%(default)s)"
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="training epochs of the estimators")
    parser.add_argument("--members", type=int, metavar="N", help="networks in an ensemble, whose PDFs are averaged")
    parser.add_argument("--n-samples", type=int, metavar="N", help="samples of translators that sample")
    parser.add_argument("--crop", type=int, metavar="PIXELS", help="look at the middle of the source stamps only")
    parser.add_argument("--z", default="z", metavar="COLUMN", help="column of the redshift (%(default)s)")
    parser.add_argument("--magnitude", default="r", metavar="COLUMN", help="magnitude to bin by (%(default)s)")
    parser.add_argument("--ebv", metavar="COLUMN", help="Galactic E(B-V), to tell the estimators")
    parser.add_argument("--bins", type=int, default=5, metavar="N", help="bins of equally many galaxies (%(default)s)")
    parser.add_argument("--floor", type=float, default=0.0, metavar="W", help="share of the prior in every PDF")
    parser.add_argument("--no-peaks", action="store_true", help="leave peak fluxes out")
    parser.add_argument("--seed", type=int, default=0, help="of samples, estimators and bootstrap (%(default)s)")
    parser.add_argument("--format", default="ecsv", choices=["ecsv", "fits", "parquet"], help="of tables (%(default)s)")


def _redshift(options):
    from astro_galtrans.fidelity.files import redshift_from_files

    names = (
        "models", "estimator", "epochs", "members", "number", "n_samples", "crop", "z", "magnitude", "ebv", "bins",
        "floor", "seed", "format",
    )  # fmt: skip
    settings = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    fidelity, _ = redshift_from_files(
        options.pairs, options.output, training_pairs=options.train, training_number=options.train_number,
        translated=_named_paths(options.translated), peaks=not options.no_peaks, **settings,
    )  # fmt: skip
    fidelity["ratios"].pprint(max_lines=-1, max_width=-1)
    print(Path(options.output) / "report.html")


def _named_paths(arguments):
    wrong = [argument for argument in arguments if "=" not in argument]
    if wrong:
        msg = f"translated stamps are given as NAME=PATH, got {wrong[0]!r}"
        raise ValueError(msg)
    pairs = (argument.split("=", 1) for argument in arguments)
    return {name: paths.split(",") for name, paths in pairs}


# -- pairs


def _add_pairs(commands):
    parser = _command(commands, "pairs", _pairs, "Make pairs for training from images of the same sky in two surveys.")
    parser.add_argument("directory", metavar="DIR", help="where to; an unfinished set there is completed")
    for side in ("source", "target"):
        parser.add_argument(
            f"--{side}", nargs="+", required=True, metavar="IMAGE", help="FITS files with WCS, globs, or folders"
        )
        parser.add_argument(f"--{side}-survey", metavar="SURVEY", help="name or .ecsv file; else from the images")
        parser.add_argument(f"--{side}-bands", metavar="BANDS", help="some of its bands, e.g. g,r,i; by default all")
        parser.add_argument(f"--{side}-unit", metavar="UNIT", help="unit of the pixels, if headers do not say")
        parser.add_argument(f"--{side}-zeropoint", type=float, metavar="MAG", help="AB magnitude of one count")
    parser.add_argument("--catalogue", metavar="TABLE", help="objects, with sky coordinates; else they are detected")
    parser.add_argument("--redshift", metavar="COLUMN", help="column of the catalogue")
    parser.add_argument("--scale", type=int, help="target pixels per source pixel; by default the nearest that fits")
    parser.add_argument("--size", type=int, default=64, help="side of the stamps, in source pixels (%(default)s)")
    parser.add_argument("--faint", type=float, metavar="MAG", help="faintest object (AB)")
    parser.add_argument("--blank", type=float, default=0.0, metavar="X", help="stamps of empty sky per object (0)")
    parser.add_argument("--search", type=float, default=2.0, metavar="ARCSEC", help="search radius (%(default)s)")
    parser.add_argument("--max-offset", type=float, metavar="ARCSEC", help="left after registration (half a pixel)")
    parser.add_argument("--register", default="local", choices=["local", "global", "each", "none"])
    parser.add_argument("--cell", type=float, default=3.0, metavar="ARCMIN", help="of the split by sky (%(default)s)")
    parser.add_argument("--minimum", type=int, default=10, help="fewest pairs to go on with (%(default)s)")


def _pairs(options):
    from astro_galtrans.pairs.observed import build_pairs, read_summary

    given = {name: value for name, value in vars(options).items() if name not in {"run", "traceback", "directory"}}
    store = build_pairs(given.pop("source"), given.pop("target"), options.directory, given.pop("catalogue"), **given)
    for what, number, meaning in read_summary(options.directory).iterrows():
        print(f"{number:8d}  {what:16}{meaning}")
    print(store)


# -- zspec


def _add_zspec(commands):
    parser = _command(commands, "zspec", _zspec, "Measure the redshifts of spectra: a catalogue with quality flags.")
    parser.add_argument("files", metavar="FILE", nargs="+", help="files of spectra, or folders of them")
    parser.add_argument("-o", "--output", required=True, metavar="TABLE", help="ECSV file; goes on where it stopped")
    parser.add_argument("--z-max", type=float, default=1.2, metavar="Z", help="highest redshift (%(default)s)")
    parser.add_argument("--medium", choices=("auto", "vacuum", "air"), default="auto", help="wavelengths (%(default)s)")
    parser.add_argument("--format", metavar="NAME", help="reader of specutils, where the file does not tell")


def _zspec(options):
    from astro_galtrans.spectra import catalogue

    settings = {"z_range": (-0.01, options.z_max), "medium": options.medium, "file_format": options.format}
    table = catalogue(options.files, options.output, **settings)
    print(f"{options.output}: {(table['flag'] == 0).sum()} of {len(table)} spectra have a redshift without a flag")


# -- demo


def _add_demo(commands):
    parser = _command(
        commands, "demo", _demo, "Translate the bundled image with all shipped translators; make a picture."
    )
    parser.add_argument("-o", "--output", default="galtrans-demo", metavar="DIR", help="where to (%(default)s)")


def _demo(options):
    from astro_galtrans.demo import demo

    for path in demo(Path(options.output)):
        print(path)
