"""What is trusted of files: words that may name a file or be shown on a terminal, and sizes."""

import os
import re

__all__ = ["limit", "plain_name", "printable"]

_NAME = re.compile(r"\w[\w .+-]{0,99}")


def plain_name(name, what):
    """
    Check a name that will be part of file names.

    Parameters
    ----------
    name : object
        As found in a file.
    what : str
        What to call it in the message.

    Returns
    -------
    str
        The name.

    Raises
    ------
    ValueError
        If it is no text, or could lead out of a folder: in it may be letters, digits, spaces and ``_ . + -``, and it
        begins with a letter or digit.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        msg = f"{what} is {name!r}; expected up to 100 letters, digits, spaces and _ . + -, the first a letter or digit"
        raise ValueError(msg)
    return name


def limit(variable, usual):
    """
    Return the most that is taken from a file: what an environment variable says, or the usual.

    Parameters
    ----------
    variable : str
        Name of the environment variable.
    usual : int

    Raises
    ------
    ValueError
        If the variable holds no positive whole number.
    """
    text = os.environ.get(variable, str(usual))
    if not text.isdecimal() or not int(text):
        msg = f"the environment variable {variable} is {text!r}; expected a positive whole number"
        raise ValueError(msg)
    return int(text)


def printable(text):
    """Text with control characters other than line ends written out, so that it cannot steer a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in str(text))
