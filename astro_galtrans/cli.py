"""``galtrans``: the package from the command line. Each subcommand is a few lines that call the Python API."""

import argparse
import json
import sys
import warnings
from pathlib import Path

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
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _short_warning
            return options.run(options) or 0
    except KeyboardInterrupt:
        sys.stderr.write("galtrans: interrupted; the same command goes on where it stopped\n")
        return 130
    except Exception as err:  # a command's user wants the reason, not where in the code it showed
        if options.traceback:
            raise
        # a KeyError's text is the repr of its message
        reason = err.args[0] if isinstance(err, KeyError) and err.args else err
        sys.stderr.write(f"galtrans: {type(err).__name__}: {reason}\n")
        return 1


def _short_warning(message, category, *_place, **_options):
    sys.stderr.write(f"galtrans: {category.__name__}: {message}\n")


def _parser():
    from astro_galtrans import __version__

    parser = argparse.ArgumentParser(prog="galtrans", description="Translate galaxy images between surveys.")
    parser.add_argument("--version", action="version", version=f"astro_galtrans {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where in the code an error arose")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    ways_in = _add_list, _add_info, _add_survey, _add_demo
    for add in (*ways_in, _add_translate, _add_simulate, _add_train, _add_calibrate):
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
        print(f"{name:24} {load_translator(name).card['description']}")
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
    print(describe(card))


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
    failures = translate_files(options.images, options.model, options.output, overwrite=options.overwrite, **settings)
    for image, reason in failures.items():
        sys.stderr.write(f"galtrans: {image}: {reason}\n")
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
    from astro_galtrans.simulate import PairSettings, simulate_pairs

    names = ("source", "target", "source_bands", "target_bands", "scale", "size", "seed")
    settings = PairSettings(**{name: getattr(options, name) for name in names})
    print(simulate_pairs(options.directory, options.number, settings, workers=options.workers))


def _add_train(commands):
    parser = _command(commands, "train", _train, "Train a translator on a set of pairs.")
    parser.add_argument("recipe", metavar="RECIPE", help="TOML file, or the name of a shipped recipe")
    parser.add_argument("pairs", metavar="PAIRS", help="folder of pairs, see: galtrans simulate")
    parser.add_argument("held_out", metavar="HELD_OUT", help="other pairs, to calibrate with")
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="folder for checkpoints and the translator"
    )
    parser.add_argument("--hours", type=float, help="stop after this time, whatever the recipe says")
    parser.add_argument("--steps", type=int, help="optimizer steps, whatever the recipe says")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (%(default)s)")


def _train(options):
    from astro_galtrans.pairstore import PairStore
    from astro_galtrans.training import load_recipe, train

    run = {name: getattr(options, name) for name in ("hours", "steps") if getattr(options, name) is not None}
    recipe = load_recipe(options.recipe, **run)
    path = train(recipe, PairStore(options.pairs), PairStore(options.held_out), options.output, device=options.device)
    print(path)


# -- calibrate


def _add_calibrate(commands):
    parser = _command(commands, "calibrate", _calibrate, "Calibrate a translator on pairs of your own, and score it.")
    parser.add_argument("name", metavar="TRANSLATOR", help="a shipped translator, or a .safetensors file")
    parser.add_argument("pairs", metavar="PAIRS", help="folder of pairs that it was not trained on")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the translator file to write")
    parser.add_argument("--n-samples", type=int, metavar="N", help="samples averaged, for a translator that samples")


def _calibrate(options):
    from astro_galtrans.models.describe import describe
    from astro_galtrans.pairstore import PairStore
    from astro_galtrans.training import recalibrate

    card = recalibrate(options.name, PairStore(options.pairs), options.output, n_samples=options.n_samples)
    kept = ("name", "description", "calibration", "scores")
    print(describe({key: card[key] for key in kept if key in card}))


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
