"""What several subcommands need: messages, types of arguments, and options that mean the same in all of them."""

import argparse
import logging
import re
import sys
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from astro_galtrans._plain import printable

__all__ = [
    "BandNames", "PrintFields", "add_bad_planes", "add_background", "add_units", "add_workers", "bands", "command",
    "given", "in_options", "planes", "print_table", "psf", "saturation", "tell", "workers", "zeropoint",
]  # fmt: skip

#: An argument of a Python function as messages write it: unit=, unit='adu', bands=['g', 'r'], overwrite=True, n_samples
ARGUMENT = re.compile(
    r"(?<![-\w.])(?P<name>[a-z]\w*)((?P<equals>=)(?P<value>'[^']*'|\[[^]]*\]|[-+\w]+(\.\w+)*)?|\b(?![(.\w]))"
)


def tell(text, options=None):
    """Write a message to standard error, without the control characters that a name or header of a file may hold."""
    text = "galtrans: " + printable(text if options is None else in_options(str(text), options))
    bars = sys.modules.get("astro_galtrans._progress")  # without it there is no bar that the text could run into
    with suppress(OSError, ValueError):  # closed, or a pipe whose reader has gone
        if bars and sys.stderr.isatty():
            bars.tqdm.write(text, file=sys.stderr)
        else:
            sys.stderr.write(f"{text}\n")


def in_options(text, options):
    """Return a message with the arguments of Python functions that it names replaced by options of the command."""
    there = set(re.findall(r"--([a-z][-a-z]*)", options.parser.format_help()))

    def option(found):
        name, equals, value = found["name"].replace("_", "-"), found["equals"], found["value"] or ""
        sides = [end for end in (f"source-{name}", f"target-{name}") if end in there]
        names = [name] if name in there else sides
        if not names or not (equals or "-" in name):  # an English word such as "unit" that is also an option
            return found[0]
        value = "" if value == "True" else re.sub(r"[]\[',]", "", value)
        return " or ".join(f"--{name} {value}".rstrip() for name in names)

    if "no-align" in there:
        text = text.replace("align=True", "leaving out --no-align")
    return ARGUMENT.sub(option, text)


def command(commands, name, run, text):
    """Return the parser of a new subcommand; ``run`` takes its options and returns the exit status, or None."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run, parser=parser)
    return parser


class BandNames(argparse.Action):
    """Names of bands, with spaces or commas between them: ``g r`` or ``g,r``."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, metavar="BAND", **options)

    def __call__(self, _parser, namespace, values, _option=None):
        """Store them as a list."""
        from astro_galtrans.bands import parse_bands

        try:
            setattr(namespace, self.dest, list(parse_bands(",".join(values))))
        except ValueError as err:
            raise argparse.ArgumentError(self, str(err)) from err


class PrintFields(argparse.Action):
    """Print the fields that a recipe may have, and stop; ``describe_fields`` of the module ``home`` knows them."""

    def __init__(self, *arguments, home, **options):
        super().__init__(*arguments, nargs=0, help="print what a recipe may say, and stop", **options)
        self.home = home

    def __call__(self, parser, *_arguments):
        """Print, and end the program."""
        for section, rows in import_module(self.home).describe_fields().items():
            print(f"[{section}]" if section else "above all sections")
            for name, kind, default, meaning in rows:
                told = f"{kind}, default {default}" if default else f"{kind}, must be given"
                print(f"  {name} ({told}): {meaning.replace('`', '')}")
        parser.exit()


def given(options, *names):
    """Return those options, by name, that the user set, so that the Python functions keep their own defaults."""
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def bands(text):
    """Return the names in ``g,r,i``."""
    from astro_galtrans.bands import parse_bands

    return list(parse_bands(text))


def planes(text):
    """Return the mask planes in ``SAT,CR``."""
    return tuple(part.strip() for part in text.split(","))


def zeropoint(text):
    """Return the magnitude in ``25.1``, or those by band in ``g=25.1,r=25.0``."""
    return _by_band(text, "zero point; expected a magnitude, 25.1, or one per band, g=25.1,r=25.0")


def psf(text):
    """Return the FWHM (arcsec) in ``1.2``, or those by band in ``g=1.3,r=1.2``, or images in ``g=psf-g.fits``."""
    what = (
        "PSF; expected the FWHM of stars in arcsec, 1.2, or one per band, g=1.3,r=1.2, or files with an image of each"
    )
    return _by_band(text, what, _width_or_image)


def _width_or_image(text):
    try:
        return float(text)
    except ValueError:
        path = Path(text).expanduser()
        if not path.is_file():
            if path.suffix:
                msg = f"there is no file {text} with the image of a PSF"
                raise argparse.ArgumentTypeError(msg) from None
            raise
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False) as hdus:
            image = next((hdu.data for hdu in hdus if np.ndim(hdu.data) == 2), None)
    except OSError as err:
        msg = f"{text} is no FITS file with the image of a PSF: {err}"
        raise argparse.ArgumentTypeError(msg) from err
    if image is None:
        msg = f"{text} has no image [k, k] of a PSF"
        raise argparse.ArgumentTypeError(msg)
    return image


def saturation(text):
    """Return the flux in ``50``, or those by band in ``g=50,r=60``."""
    return _by_band(text, "saturation; expected a flux per pixel, 50, or one per band, g=50,r=60")


def _by_band(text, what, read=float):
    try:
        if "=" not in text:
            return read(text)
        parts = [part.split("=") for part in text.split(",")]
        found = {band.strip(): read(value) for band, value in parts}
        if len(found) == len(parts):
            return found
        msg = f"{text!r} has two values of a band"
    except ValueError:
        msg = f"{text!r} is no {what}"
    raise argparse.ArgumentTypeError(msg)


def add_units(parser, side=""):
    """Add options for the flux scale of images; ``side`` is a prefix such as ``source-``."""
    parser.add_argument(f"--{side}unit", metavar="UNIT", help="unit of the pixels, if headers do not say")
    parser.add_argument(
        f"--{side}zeropoint", type=zeropoint, metavar="MAG",
        help="AB magnitude of one count, or one per band: g=25.1,r=25.0",
    )  # fmt: skip


def add_bad_planes(parser):
    """Add the option for the planes of a mask that count as bad."""
    parser.add_argument(
        "--bad-planes", type=planes, metavar="PLANE[,PLANE]",
        help="planes of masks that mark bad pixels, by name or bit number; or nonzero, zero, none",
    )  # fmt: skip


def add_background(parser):
    """Add the option that subtracts the sky of images before they are used."""
    parser.add_argument(
        "--subtract-background", type=int, nargs="?", const=True, default=False, metavar="PIXELS",
        help="subtract the sky, measured in boxes of this side (64)",
    )  # fmt: skip


def add_workers(parser, what="shards"):
    """Add options for the workers of dask that share the work."""
    parser.add_argument("--workers", type=int, metavar="N", help=f"processes that share {what}")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="a running dask scheduler whose workers share them")


def print_table(table):
    """Print all rows and columns, with as many digits as a reader wants of numbers, and of positions in degrees."""
    table = table.copy()
    for name in table.colnames:
        if table[name].dtype.kind == "f":
            table[name].info.format = ".6f" if name in {"ra", "dec"} else ".4g"
    table.pprint(max_lines=-1, max_width=-1)


@contextmanager
def workers(options):
    """Yield a client of the workers that are asked for, or None, and say where their dashboard is."""
    from astro_galtrans.survey import cluster

    with cluster(options.workers, options.scheduler) as client:
        if client is not None:
            if not options.verbose:  # dask logs tracebacks of lost connections, of which the error says what matters
                for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
                    logging.getLogger(name).setLevel(logging.CRITICAL)
            hint = "" if find_spec("bokeh") else " (once bokeh is installed on the scheduler's machine)"
            tell(f"dashboard: {client.dashboard_link}{hint}")
        yield client
