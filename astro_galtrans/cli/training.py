"""Subcommands that make pairs of images, and train and calibrate translators on them."""

from astro_galtrans._plain import printable

from ._common import PrintFields, add_background, add_bad_planes, add_units, bands, command, given

__all__ = ["COMMANDS"]

DEFAULT_PAIRS = 1024


def _add_simulate(commands):
    parser = command(commands, "simulate", _simulate, "Simulate pairs of images, for training and tests.")
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
    parser.add_argument("--seed", type=int, default=1, help="seed of the galaxies and the noise (%(default)s)")
    parser.add_argument(
        "--blends", type=float, default=0.0, metavar="SHARE",
        help="share of the galaxies with a fainter one over them in the source only (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, help="processes; by default one per core")


def _simulate(options):
    from astro_galtrans.pairs.simulated import PairSettings, simulate_pairs

    names = ("source", "target", "source_bands", "target_bands", "scale", "size", "seed", "blends")
    settings = PairSettings(**{name: getattr(options, name) for name in names})
    print(simulate_pairs(options.directory, options.number, settings, workers=options.workers))


def _add_pairs(commands):
    parser = command(commands, "pairs", _pairs, "Make pairs for training from images of the same sky in two surveys.")
    parser.add_argument("directory", metavar="DIR", help="where to; an unfinished set there is completed")
    for side in ("source", "target"):
        parser.add_argument(
            f"--{side}", nargs="+", required=True, metavar="IMAGE", help="FITS files with WCS, globs, or folders"
        )
        parser.add_argument(f"--{side}-survey", metavar="SURVEY", help="name or .ecsv file; else from the images")
        parser.add_argument(f"--{side}-bands", metavar="BANDS", help="some of its bands, e.g. g,r,i; by default all")
        add_units(parser, f"{side}-")
    add_bad_planes(parser)
    add_background(parser)
    parser.add_argument("--catalogue", metavar="TABLE", help="objects, with sky coordinates; else they are detected")
    parser.add_argument(
        "--redshift", metavar="COLUMN", help="its column of redshifts; by default one of a usual name (z, zspec, ...)"
    )
    parser.add_argument("--scale", type=int, help="target pixels per source pixel; by default the nearest that fits")
    parser.add_argument("--size", type=int, default=64, help="side of the stamps, in source pixels (%(default)s)")
    parser.add_argument("--faint", type=float, metavar="MAG", help="faintest object (AB); by default all")
    parser.add_argument("--blank", type=float, default=0.0, metavar="X", help="stamps of empty sky per object (0)")
    parser.add_argument("--search", type=float, default=2.0, metavar="ARCSEC", help="search radius (%(default)s)")
    parser.add_argument(
        "--max-offset", type=float, metavar="ARCSEC", help="largest offset after registration (half a pixel)"
    )
    parser.add_argument(
        "--register", default="local", choices=["local", "global", "each", "none"],
        help="correct the target's positions by what the objects around show, by one offset for all, each object by its"
        " own, or not (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--cell", type=float, default=3.0, metavar="ARCMIN",
        help="side of the sky cells, whole cells go to one part (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--minimum", type=int, default=10, help="fewest pairs to go on with (%(default)s)")


def _pairs(options):
    from astro_galtrans.pairs.observed import build_pairs, read_summary

    unwanted = {"run", "parser", "traceback", "quiet", "verbose", "directory"}
    settings = {name: value for name, value in vars(options).items() if name not in unwanted}
    images = settings.pop("source"), settings.pop("target")
    store = build_pairs(*images, options.directory, settings.pop("catalogue"), **settings)
    for what, number, meaning in read_summary(options.directory).iterrows():
        print(f"{number:8d}  {what:16}{meaning}")
    print(store)


def _add_train(commands):
    parser = command(
        commands, "train", _train, "Train a translator on pairs, or on those that the recipe says how to simulate."
    )
    parser.add_argument(
        "recipe", metavar="RECIPE",
        help="TOML file, the name of a shipped recipe, or a translator, whose training is repeated",
    )  # fmt: skip
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
    parser.add_argument(
        "--devices", type=int, default=1, metavar="N", help="how many devices to train on (%(default)s)"
    )
    parser.add_argument("--precision", default="32-true", help="32-true or bf16-mixed (%(default)s)")
    parser.add_argument("--hours", type=float, help="end after this time, whatever the recipe says")
    parser.add_argument("--steps", type=int, help="optimizer steps, whatever the recipe says")
    parser.add_argument("--source", metavar="SURVEY", help="source survey of simulated pairs: a name or a survey file")
    parser.add_argument("--target", metavar="SURVEY", help="their target survey, likewise")
    for end in ("source", "target"):
        parser.add_argument(f"--{end}-bands", type=bands, metavar="BANDS", help="some of its bands, e.g. g,r,i")
    parser.add_argument("--number", type=int, metavar="N", help="how many pairs to simulate for the training")
    parser.add_argument("--fields", action=PrintFields, home="astro_galtrans.training.recipe")


def _train(options):
    from astro_galtrans.pairs.store import PairStore
    from astro_galtrans.training import load_recipe, train
    from astro_galtrans.training.train import simulate_for

    wanted = given(options, "source", "target", "source_bands", "target_bands", "number")
    recipe = load_recipe(options.recipe, pairs=wanted, **given(options, "hours", "steps"))
    if options.pairs:
        stores = [path and PairStore(path) for path in (options.pairs, options.held_out)]
    else:
        stores = simulate_for(recipe, options.output)
    print(train(recipe, *stores, options.output, **given(options, "init", "device", "devices", "precision")))


def _add_calibrate(commands):
    parser = command(commands, "calibrate", _calibrate, "Calibrate a translator on pairs of your own, and score it.")
    parser.add_argument("name", metavar="TRANSLATOR", help="a shipped translator, or a .safetensors file")
    parser.add_argument("pairs", metavar="PAIRS", help="folder of pairs that it was not trained on")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the translator file to write")
    parser.add_argument("--n-samples", type=int, metavar="N", help="samples averaged, for a translator that samples")

    parser.add_argument(
        "--sampler", action="store_true",
        help="give a deterministic translator a sampler, which draws samples that keep photometry; best with some ten"
        " thousand pairs",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, default=1, help="processes that measure the pairs for it (%(default)s)")


def _calibrate(options):
    from astro_galtrans.models.describe import describe
    from astro_galtrans.pairs.store import PairStore
    from astro_galtrans.training import recalibrate

    card = recalibrate(
        options.name, PairStore(options.pairs), options.output, n_samples=options.n_samples, sampler=options.sampler,
        workers=options.workers,
    )  # fmt: skip
    print(printable(describe(card)))


COMMANDS = _add_simulate, _add_pairs, _add_train, _add_calibrate
