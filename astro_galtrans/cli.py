"""``galtrans``: the package from the command line. Each subcommand is a few lines that call the Python API."""

import argparse
import json
import os
import re
import sys
import warnings
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path

from astro_galtrans._plain import printable
from astro_galtrans.exceptions import GaltransError

__all__ = ["main"]

DEFAULT_PAIRS = 1024
ZEROPOINT = "AB magnitude of one count, or one per band: g=25.1,r=25.0"
# an argument of a Python function as messages write it: unit=, unit='adu', bands=['g', 'r'], overwrite=True, n_samples
ARGUMENT = re.compile(
    r"(?<![-\w.])(?P<name>[a-z]\w*)((?P<equals>=)(?P<value>'[^']*'|\[[^]]*\]|[-+\w]+(\.\w+)*)?|\b(?![(.\w]))"
)


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
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.run is None:
        parser.print_help()
        return 0
    try:
        with warnings.catch_warnings():
            warnings.showwarning = partial(_short_warning, options)
            _set_verbosity(options)
            return options.run(options) or 0
    except KeyboardInterrupt:
        _tell("interrupted; the same command goes on where it stopped")
        return 130
    except Exception as err:  # a command's user wants the reason, not where in the code it showed
        if options.traceback:
            raise
        # a KeyError's text is the repr of its message
        reason = err.args[0] if isinstance(err, KeyError) and err.args else err
        _tell(f"{type(err).__name__}: {reason}", options)
        return 1


def _set_verbosity(options):
    """Without warnings, or with those that Python and astropy's logger usually keep to themselves."""
    if options.quiet or options.verbose:
        from astropy import log

        warnings.simplefilter("ignore" if options.quiet else "default")
        log.setLevel("ERROR" if options.quiet else "DEBUG")


def _short_warning(options, message, category, *_place, **_options):
    _tell(f"{category.__name__}: {message}", options)


def _tell(text, options=None):
    """Write to standard error, if somebody listens; what comes out of files may not steer the terminal."""
    text = printable(text if options is None else _in_options(str(text), options))
    with suppress(OSError, ValueError):  # closed, or a pipe whose reader has gone
        sys.stderr.write(f"galtrans: {text}\n")


def _in_options(text, options):
    """A message that names arguments of Python functions, with the options of the command in their place."""
    there = set(re.findall(r"--([a-z][-a-z]*)", options.parser.format_help()))

    def option(found):
        name, equals, value = found["name"].replace("_", "-"), found["equals"], found["value"] or ""
        sides = [end for end in (f"source-{name}", f"target-{name}") if end in there]
        names = [name] if name in there else sides
        if not names or not (equals or "-" in name):  # a word that is an option's name by chance
            return found[0]
        value = "" if value == "True" else re.sub(r"[]\[',]", "", value)
        return " or ".join(f"--{name} {value}".rstrip() for name in names)

    if "no-align" in there:
        text = text.replace("align=True", "leaving out --no-align")
    return ARGUMENT.sub(option, text)


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
    parser.add_argument("-q", "--quiet", action="store_true", help="no warnings; errors only")
    parser.add_argument("-v", "--verbose", action="store_true", help="all warnings, and what astropy's logger says")
    parser.add_argument(
        "--print-completion", action=_PrintCompletion, default=argparse.SUPPRESS, choices=["bash", "zsh", "tcsh"],
        help="print a script that completes commands in a shell, and stop",
    )  # fmt: skip
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(metavar="COMMAND")
    ways_in = _add_list, _add_info, _add_survey, _add_demo, _add_check
    judging = _add_fidelity, _add_redshift, _add_zspec
    for add in (*ways_in, _add_translate, _add_simulate, _add_pairs, _add_train, _add_calibrate, *judging):
        add(commands)
    return parser


class _PrintCompletion(argparse.Action):
    """Print a script for the completion of a shell, and stop."""

    def __call__(self, parser, _namespace, shell, *_option):
        from astro_galtrans._optional import require

        try:
            print(require("shtab", extra="completion").complete(parser, shell))
        except ImportError as err:
            parser.error(str(err))
        parser.exit()


def _command(commands, name, run, text):
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run, parser=parser)
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
    parser = _command(commands, "info", _info, "Say what a translator does, for which images, and how well.")
    parser.add_argument("name", metavar="NAME", help="a shipped translator, or a .safetensors file")
    parser.add_argument("--full", action="store_true", help="its whole card: data, recipe, course of training")
    parser.add_argument("--json", action="store_true", help="the card as JSON")


def _info(options):
    from astro_galtrans._files import fingerprint
    from astro_galtrans.models.checkpoint import read_card
    from astro_galtrans.models.describe import describe, describe_all
    from astro_galtrans.models.shipped import find_weights

    path = find_weights(options.name)
    card = read_card(path)
    if options.json:
        print(json.dumps(card, indent=1))
    elif options.full:
        print(printable(describe_all(card)))
    else:
        print(printable(describe(card, fingerprint(path.read_bytes()))))
        print(f"The whole card: galtrans info {options.name} --full (or --json)")


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


# -- check, translate


def _add_check(commands):
    text = "Say what is understood of FITS images, and which translators take them, without translating."
    parser = _command(commands, "check", _check, text)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="FITS files or folders, as for translate")
    parser.add_argument("-m", "--models", nargs="+", metavar="NAME", help="translators; by default the shipped ones")
    parser.add_argument("--bands", nargs="+", metavar="BAND", help="bands of the files, if headers do not say")
    parser.add_argument("--unit", help="unit of the pixels, if headers do not say")
    parser.add_argument("--zeropoint", type=_zeropoint, metavar="MAG", help=ZEROPOINT)
    parser.add_argument(
        "--bad-planes", type=_planes, metavar="PLANE[,PLANE]", help="planes of masks that mark bad pixels"
    )


def _check(options):
    from astro_galtrans.batch import find_images
    from astro_galtrans.check import describe_image

    failed = False
    for name, files in find_images(options.images).items():
        image = files[0] if len(files) == 1 else files
        try:
            text = describe_image(
                image, options.bands, translators=options.models, unit=options.unit, zeropoint=options.zeropoint,
                bad_planes=options.bad_planes,
            )  # fmt: skip
        except (ValueError, TypeError, OSError, GaltransError) as err:
            failed = True
            text = _in_options(f"cannot be read: {err}", options)
        print(printable(f"{name} ({', '.join(map(str, files))})\n  " + text.replace("\n", "\n  ")))
    return 1 if failed else 0


def _add_reading(parser):
    """Add what is said of images that are read: their masks and their sky."""
    parser.add_argument(
        "--bad-planes", type=_planes, metavar="PLANE[,PLANE]",
        help="planes of masks that mark bad pixels, by name or bit number; or nonzero, zero, none",
    )  # fmt: skip
    parser.add_argument(
        "--subtract-background", type=int, nargs="?", const=True, default=False, metavar="PIXELS",
        help="subtract the sky, measured in boxes of this side (64)",
    )  # fmt: skip


def _zeropoint(text):
    """A magnitude for all bands, or ``g=25.1,r=25.0``."""
    try:
        if "=" not in text:
            return float(text)
        return {band.strip(): float(value) for band, value in (part.split("=") for part in text.split(","))}
    except ValueError:
        msg = f"{text!r} is no zero point; expected a magnitude, 25.1, or one per band, g=25.1,r=25.0"
        raise argparse.ArgumentTypeError(msg) from None


def _planes(text):
    return tuple(part.strip() for part in text.split(","))


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
    parser.add_argument("--zeropoint", type=_zeropoint, metavar="MAG", help=ZEROPOINT)
    _add_reading(parser)
    parser.add_argument("--n-samples", type=int, metavar="N", help="samples averaged, for a translator that samples")
    parser.add_argument("--seed", type=int, help="seed of the samples")
    parser.add_argument("--output-grid", choices=["target"], help="resample to the target survey's own pixels")
    parser.add_argument("--no-align", action="store_true", help="refuse bands on different grids")
    parser.add_argument("--strict", action="store_true", help="refuse images unlike those of the training")
    parser.add_argument("--tile", type=int, nargs="+", metavar="N", help="rows and columns of a tile (source pixels)")
    parser.add_argument("--device", help="cpu, cuda, ...; by default CUDA where there is one")
    parser.add_argument("--overwrite", action="store_true", help="replace existing files; else a folder's are skipped")
    parser.add_argument(
        "--preview", metavar="PNG", help="draw source and result side by side, too (one image; needs matplotlib)"
    )


def _translate(options):
    from astro_galtrans.batch import is_folder, translate_files

    tile = options.tile and (options.tile[0] if len(options.tile) == 1 else tuple(options.tile))
    settings = {
        "bands": options.bands, "unit": options.unit, "zeropoint": options.zeropoint, "n_samples": options.n_samples,
        "seed": options.seed, "output_grid": options.output_grid, "align": not options.no_align,
        "strict": options.strict, "tile": tile, "device": options.device, "bad_planes": options.bad_planes,
        "subtract_background": options.subtract_background,
    }  # fmt: skip
    if not is_folder(options.output):
        return _translate_one(options, settings)
    if options.preview:
        msg = "--preview draws one image; with a folder as output, leave it out"
        raise ValueError(msg)
    counts = Counter()
    failures = translate_files(
        options.images, options.model, options.output, overwrite=options.overwrite,
        report=lambda _name, what: counts.update([what]), **settings,
    )  # fmt: skip
    for image, reason in failures.items():
        _tell(f"{image}: {reason}", options)
    skipped = f", {counts['skipped']} skipped: made before by the same request" if counts["skipped"] else ""
    print(f"{options.output}: {counts['translated']} images translated{skipped}, {counts['failed']} failed")
    return 1 if failures else 0


def _translate_one(options, settings):
    from astro_galtrans.batch import translate_file
    from astro_galtrans.demo import check_preview, preview

    if options.preview:
        check_preview(options.preview, overwrite=options.overwrite)
    translate_file(options.images, options.model, options.output, overwrite=options.overwrite, **settings)
    print(options.output)
    if options.preview:
        reading = {name: settings[name] for name in ("bands", "unit", "zeropoint", "bad_planes")}
        images = options.images[0] if len(options.images) == 1 else options.images
        print(preview(images, options.output, options.preview, **reading))
    return 0


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
    print(printable(describe(card)))


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
        "-m", "--models", nargs="+", default=[], metavar="NAME", help="translators of the source, by name or file"
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
    parser.add_argument("--format", default="ecsv", choices=["ecsv", "fits"], help="of tables (%(default)s)")


def _fidelity(options):
    from astro_galtrans.fidelity.files import LEVELS, fidelity_from_files
    from astro_galtrans.statistics.bootstrap import Bootstrap

    source, target, translated, frames = _images(options)
    anomaly = {"degrade_source": options.degrade_source, "colour_terms": None if options.no_colour_terms else "fit"}
    settings = {level: {"take": options.take} for level in ("pixel", "photometry", "morphology")}
    psf = {"source": options.source_fwhm, "target": options.target_fwhm}
    results = fidelity_from_files(
        source, target, translated, options.output, frames=frames,
        levels=[level for level in LEVELS if level not in options.skip], bins=options.bins, number=options.number,
        psf={side: fwhm for side, fwhm in psf.items() if fwhm is not None}, bootstrap=Bootstrap(seed=options.seed),
        options=settings | {"anomaly": anomaly, "translate": {"n_samples": options.n_samples}}, format=options.format,
    )  # fmt: skip
    for level, result in results.items():
        print(f"{level}: {', '.join(f'{name} ({len(table)})' for name, table in result.tables.items())}")
    print(Path(options.output) / "index.html")


def _images(options):
    """Source, target and translations, and the options of frames if they are such."""
    from astro_galtrans.fidelity.files import is_store
    from astro_galtrans.fidelity.files.frames import are_frames
    from astro_galtrans.fidelity.files.inputs import stamps_of_both

    source, rest, frames = options.source, list(options.images), None
    if is_store(source):
        return source, None, _named(rest) | _translators(options.models), None
    source, target = _paths(source), _paths(rest.pop(0)) if rest else None
    surveys = {"source": options.source_survey, "target": options.target_survey}
    bands = {"source": options.source_bands, "target": options.target_bands}
    if options.catalogue or options.detect or are_frames(source):
        frames = {f"{side}_survey": survey for side, survey in surveys.items()}
        frames |= {f"{side}_bands": names for side, names in bands.items()}
        frames |= _given(options, "catalogue", "size", "faint")
    elif target is not None:
        source, target = stamps_of_both((source, target), surveys.values(), bands.values(), options.pixel_scale)
    return source, target, _named(rest) | _translators(options.models), frames


def _translators(models):
    from astro_galtrans import load_translator

    translators = map(load_translator, models)
    return {translator.name: translator for translator in translators}


def _named(arguments):
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
    parser.add_argument("--magnitude", metavar="COLUMN", help="magnitude to bin by (r, if there is one)")
    parser.add_argument("--ebv", metavar="COLUMN", help="Galactic E(B-V), to tell the estimators")
    parser.add_argument("--bins", type=int, default=5, metavar="N", help="bins of equally many galaxies (%(default)s)")
    parser.add_argument("--floor", type=float, default=0.0, metavar="W", help="share of the prior in every PDF")
    parser.add_argument("--no-peaks", action="store_true", help="leave peak fluxes out")
    parser.add_argument("--seed", type=int, default=0, help="of samples, estimators and bootstrap (%(default)s)")
    parser.add_argument("--format", default="ecsv", choices=["ecsv", "fits"], help="of tables (%(default)s)")


def _redshift(options):
    from astro_galtrans.fidelity.files import redshift_from_files
    from astro_galtrans.statistics.bootstrap import Bootstrap

    columns = {"z_spec": options.z, "ebv": options.ebv}
    columns |= {} if options.magnitude is None else {"magnitude": options.magnitude}
    fidelity, _ = redshift_from_files(
        options.pairs, _named(options.translated) | _translators(options.models), options.output,
        training_pairs=options.train, columns=columns, number=(options.number, options.train_number), crop=options.crop,
        peaks=not options.no_peaks, translate={"n_samples": options.n_samples}, bootstrap=Bootstrap(seed=options.seed),
        **_given(options, "estimator", "epochs", "members", "bins", "floor", "format"),
    )  # fmt: skip
    fidelity.ratios["model", "quantity", "value", "low", "high", "n"].pprint(max_lines=-1, max_width=-1)
    print(Path(options.output) / "report.html")


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
        parser.add_argument(f"--{side}-zeropoint", type=_zeropoint, metavar="MAG", help=ZEROPOINT)
    _add_reading(parser)
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

    unwanted = {"run", "parser", "traceback", "quiet", "verbose", "directory"}
    given = {name: value for name, value in vars(options).items() if name not in unwanted}
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
