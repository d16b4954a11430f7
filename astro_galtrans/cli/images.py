"""Subcommands that translate images, and those that say what there is to translate with."""

import json
from collections import Counter
from pathlib import Path

from astro_galtrans._plain import printable
from astro_galtrans.exceptions import GaltransError

from ._common import (
    BandNames,
    add_background,
    add_bad_planes,
    add_units,
    add_workers,
    command,
    given,
    in_options,
    psf,
    saturation,
    tell,
    workers,
)

__all__ = ["COMMANDS"]

#: Options that need the whole of one image, and what to do instead of them.
WHOLE = {
    "preview": "draw a part of the result, translated by itself",
    "output_grid": "leave it out, and bring the result to the grid with reproject_interp or SWarp",
    "subtract_background": "subtract the sky from the images before, with photutils' Background2D or SWarp",
    "saturation": "mark saturated pixels in a mask of the images, and say which planes are bad with --bad-planes",
    "tile": "leave it out",
}
BLOCK = 1024  # as in `astro_galtrans.translate.mosaic`, which it takes long to import


def _add_list(commands):
    command(commands, "list", _list, "List the shipped translators, the networks, surveys and recipes.")


def _list(_options):
    from astro_galtrans import list_surveys, list_translators, load_translator
    from astro_galtrans.models.registry import list_models
    from astro_galtrans.training import list_recipes

    for name in list_translators():
        print(f"{name:24} {printable(load_translator(name).card['description'])}")
    for what, names in (("networks", list_models()), ("surveys", list_surveys()), ("recipes", list_recipes())):
        print(f"{what}: {', '.join(names)}")


def _add_info(commands):
    parser = command(commands, "info", _info, "Say what a translator does, for which images, and how well.")
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


def _add_survey(commands):
    parser = command(
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


def _add_demo(commands):
    parser = command(
        commands, "demo", _demo, "Translate the bundled image with all shipped translators; make a picture."
    )
    parser.add_argument("-o", "--output", default="galtrans-demo", metavar="DIR", help="where to (%(default)s)")


def _demo(options):
    from astro_galtrans.demo import demo

    for path in demo(Path(options.output)):
        print(path)


def _add_check(commands):
    text = "Say what is understood of FITS images, and which translators take them, without translating."
    parser = command(commands, "check", _check, text)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="FITS files or folders, as for translate")
    parser.add_argument("-m", "--models", nargs="+", metavar="NAME", help="translators; by default the shipped ones")
    parser.add_argument("--bands", nargs="+", action=BandNames, help="bands of the files, if headers do not say")
    add_units(parser)
    add_bad_planes(parser)


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
            text = f"cannot be read: {err}"
        text = in_options(text, options).replace("\n", "\n  ")
        print(printable(f"{name} ({', '.join(map(str, files))})\n  {text}"))
    return 1 if failed else 0


def _add_translate(commands):
    parser = command(commands, "translate", _translate, "Translate FITS images of one survey into another's.")
    parser.add_argument(
        "images", nargs="*", metavar="IMAGE",
        help="FITS files: the bands of one image; or, if OUT is a folder, many images: multi-band files, per-band files"
        " that differ in the band's letter only, folders of such, or @LIST, a text file with one image a line",
    )  # fmt: skip
    parser.add_argument("--images", nargs="+", default=[], metavar="IMAGE", dest="more", help="the same, by name")
    parser.add_argument(
        "-m", "--model", required=True, metavar="NAME", help="a shipped translator, or a .safetensors file"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="OUT",
        help="FITS file, or folder (made if it ends in /); with --block FITS or .zarr, with --catalogue a folder",
    )  # fmt: skip
    parser.add_argument(
        "--bands", nargs="+", action=BandNames, help="bands of the files, in order, if headers do not say"
    )
    add_units(parser)
    add_bad_planes(parser)
    add_background(parser)
    parser.add_argument(
        "--psf", type=psf, metavar="FWHM", help="FWHM of stars (arcsec), or by band: g=1.3,r=1.2, or"
        " images of the PSF: g=psf-g.fits,...; by default that of the stars found, for translators that are told",
    )  # fmt: skip
    parser.add_argument(
        "--saturation", type=saturation, metavar="FLUX", help="flux from which a pixel is saturated (image unit),"
        " or by band: g=50,r=60",
    )  # fmt: skip
    parser.add_argument("--n-samples", type=int, metavar="N", help="samples averaged, for a translator that samples")
    parser.add_argument("--seed", type=int, help="seed of the samples")
    parser.add_argument("--output-grid", choices=["target"], help="resample to the target survey's own pixels")
    parser.add_argument("--no-align", action="store_true", help="refuse bands on different grids")
    parser.add_argument(
        "--strict", action="store_true", help="refuse images unlike those of the training, or with wrong checksums"
    )
    parser.add_argument("--tile", type=int, nargs="+", metavar="N", help="rows and columns of a tile (source pixels)")
    parser.add_argument("--device", help="cpu, cuda, ...; by default CUDA where there is one")
    parser.add_argument(
        "--block", type=int, nargs="?", const=BLOCK, metavar="N",
        help="translate a mosaic in blocks of this side (%(const)s source pixels), with memory that does not grow with"
        " it; an interrupted run goes on",
    )  # fmt: skip
    parser.add_argument(
        "--catalogue", metavar="TABLE", help="translate stamps of the objects of a table, cut from the images"
    )
    parser.add_argument("--size", type=int, default=64, metavar="N", help="side of the stamps, pixels (%(default)s)")
    parser.add_argument("--shard", type=int, metavar="N", help="objects in each part of the output (512)")
    parser.add_argument(
        "--fits", metavar="DIR", help="write a FITS file of each object, too; of shards that are there as well"
    )
    add_workers(parser, "blocks or shards")
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
        "subtract_background": options.subtract_background, "psf": options.psf,
        "saturation": options.saturation,
    }  # fmt: skip
    options.images += options.more
    if options.fits and not options.catalogue:
        options.parser.error("--fits goes with --catalogue: other outputs are FITS anyway")
    if not options.images:
        options.parser.error("give one or more images")
    if options.catalogue:
        return _translate_catalogue(options, settings)
    if options.block:
        return _translate_mosaic(options, settings)
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
        tell(f"{image}: {reason}", options)
    skipped = f", {counts['skipped']} skipped: made before by the same request" if counts["skipped"] else ""
    print(f"{options.output}: {counts['translated']} images translated{skipped}, {counts['failed']} failed")
    return 1 if failures else 0


def _unfit(options, settings, ways, where):
    """Raise if options are set that do not apply; ``ways`` says what to do instead of each."""
    for name, way in ways.items():
        value = settings.get(name, getattr(options, name, None))
        if value is not None and value is not False:
            msg = f"--{name.replace('_', '-')} does not go with --{where}: {way}"
            raise ValueError(msg)


def _translate_catalogue(options, settings):
    from astro_galtrans.models.shipped import one_thread
    from astro_galtrans.survey import translate_catalogue, write_objects

    more = {
        "block": "--shard says how many objects a part of the output has",
        "device": "each worker takes what it has",
    }  # fmt: skip
    _unfit(options, settings, WHOLE | more, "catalogue")
    known = given(options, "bands", "unit", "zeropoint", "bad_planes", "shard", "n_samples", "seed", "psf")
    with one_thread(), workers(options) as client:
        counts = translate_catalogue(
            options.catalogue, options.images, options.model, options.output, size=options.size, client=client,
            strict=options.strict, report=lambda message: tell(message, options), **known,
        )  # fmt: skip
        if options.fits:
            print(f"{options.fits}: {write_objects(options.output, options.fits, client=client)} FITS files written")
    made = counts["objects"] - counts["absent"] if counts["skipped"] == counts["shards"] else counts["translated"]
    skipped = f", {counts['skipped']} of {counts['shards']} shards were there" if counts["skipped"] else ""
    print(
        f"{options.output}: {made} of {counts['objects']} objects translated, {counts['failed']} failed, "
        f"{counts['absent']} off all images{skipped}"
    )
    return 1 if counts["failed"] else 0


def _translate_mosaic(options, settings):
    from astro_galtrans.translate import translate_mosaic

    _unfit(options, settings, WHOLE, "block")
    known = given(options, "bands", "unit", "zeropoint", "bad_planes", "n_samples", "seed", "device", "psf")
    images = options.images[0] if len(options.images) == 1 else options.images
    with workers(options) as client:
        print(translate_mosaic(
            images, options.model, options.output, block=options.block, strict=options.strict, progress=True,
            overwrite=options.overwrite, client=client, **known,
        ))  # fmt: skip
    return 0


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


COMMANDS = _add_list, _add_info, _add_survey, _add_demo, _add_check, _add_translate
