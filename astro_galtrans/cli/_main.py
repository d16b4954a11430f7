"""The program: its options, its messages and its exit status."""

import argparse
import os
import re
import sys
import warnings
from difflib import get_close_matches
from functools import partial

from . import images, judging, study, training
from ._common import tell

__all__ = ["main", "make_parser"]


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
        0 if all went well, 1 if something failed (the reason is on standard error), 130 if interrupted; what else,
        the subcommand says.
    """
    _open_streams()
    parser = make_parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        _refuse(unknown, getattr(options, "parser", parser), parser)
    if options.run is None:
        parser.print_help()
        return 0
    try:
        with warnings.catch_warnings():
            warnings.showwarning = partial(_short_warning, options, set())
            _set_verbosity(options)
            return options.run(options) or 0
    except KeyboardInterrupt:
        tell("interrupted; the same command goes on where it stopped")
        return 130
    except Exception as err:  # whoever runs a command wants the reason; --traceback shows the place in the code
        if options.traceback:
            raise
        # a KeyError's text is the repr of its message
        reason = err.args[0] if isinstance(err, KeyError) and err.args else err
        tell(f"{type(err).__name__}: {reason}", options)
        return 1


def _refuse(unknown, parser, whole):
    """End the program for arguments that a command does not have, with an option that looks like the first of them."""
    there = re.findall(r"--[a-z][-a-z]*", parser.format_help() + whole.format_help())
    near = get_close_matches(unknown[0].partition("=")[0], there, n=1)
    hint = f" (did you mean {near[0]}?)" if near else f"; {parser.prog} --help says what there is"
    parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")


def _set_verbosity(options):
    """Show no warnings (--quiet), or also those that Python and astropy's logger hide by default (--verbose)."""
    if options.quiet or options.verbose:
        from astropy import log

        warnings.simplefilter("ignore" if options.quiet else "default")
        log.setLevel("ERROR" if options.quiet else "DEBUG")


def _short_warning(options, told, message, category, *_place, **_options):
    """Write a warning once, however often it is given: each level of fidelity looks at the same galaxies."""
    text = f"{category.__name__}: {message}"
    if text not in told:
        told.add(text)
        tell(text, options)


def _open_streams():
    """
    Open the standard streams that the caller closed, to nowhere.

    Otherwise the next file that is opened gets the free descriptor, and what libraries write to standard error ends up
    in that file.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf8", closefd=False))  # noqa: SIM115


def make_parser():
    """Return the parser of ``galtrans`` with all subcommands."""
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
    for add in (*images.COMMANDS, *training.COMMANDS, *judging.COMMANDS, *study.COMMANDS):
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
