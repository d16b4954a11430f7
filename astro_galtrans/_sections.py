"""Settings in TOML files: sections as dataclasses, whose fields know their meaning, their type and their range."""

import math
import tomllib
from dataclasses import MISSING, fields
from dataclasses import field as dataclass_field
from difflib import get_close_matches

from astro_galtrans._plain import plain_name

__all__ = ["build", "described", "field", "parsed"]


def field(meaning, default=MISSING, low=None, high=math.inf):
    """
    Return a field of a section with its documentation and, for a number, its range.

    Parameters
    ----------
    meaning : str
        What `described` says of it.
    default : optional
        A list or dict is copied for each section; without a default the field must be given.
    low, high : float, optional
        The range of a number.
    """
    told = {"doc": meaning, "range": None if low is None else (low, high)}
    if isinstance(default, list | dict):
        return dataclass_field(default_factory=default.copy, metadata=told)
    return dataclass_field(default=default, metadata=told)


def parsed(text, where):
    """Return the content of a TOML file; ValueError, which names the file, if it is none."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        msg = f"{where} is not valid TOML: {err}"
        raise ValueError(msg) from err


def build(kind, content, where):
    """
    Build a section, a dataclass, from a dict.

    Parameters
    ----------
    kind : type
        The dataclass.
    content : dict
        Fields that are already of their type stay as they are.
    where : str
        What errors call the section.

    Raises
    ------
    ValueError
        If a field is unknown (the message gives the nearest), missing, of a wrong type or outside of its range.
    """
    known = {f.name: f for f in fields(kind)}
    if not isinstance(content, dict):
        msg = f"{where} must be a table with the fields {', '.join(known)}, got {content!r}"
        raise ValueError(msg)
    content = dict(content)
    for word in set(content) - set(known):
        near = get_close_matches(word, known, n=1, cutoff=0.0)
        msg = f"{where} has an unknown field {word!r}; the nearest known is {near[0]!r} (all: {', '.join(known)})"
        raise ValueError(msg)
    for name, f in known.items():
        required = f.default is MISSING and f.default_factory is MISSING
        if name not in content and required:
            msg = f"{where} lacks the field {name!r}"
            raise ValueError(msg)
        if name in content:
            content[name] = _checked(content[name], f, f"{name!r} in {where}")
    return kind(**content)


def described(kind):
    """Describe the documented fields of a section as ``(name, type, default, meaning)``, the default as in TOML."""
    return [_row(f) for f in fields(kind) if "doc" in f.metadata]


def _row(f):
    made = f.default_factory is not MISSING
    default = f.default_factory() if made else f.default
    text = "" if default is MISSING else str(default).lower() if isinstance(default, bool) else repr(default)
    return f.name, f.type.__name__, text.replace("'", '"'), f.metadata["doc"]


def _checked(value, f, where):
    kind, limits = f.type, f.metadata.get("range")
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        msg = f"{where} must be {kind.__name__}, got {value!r}"
        raise ValueError(msg)
    if limits and not limits[0] <= value <= limits[1]:
        msg = f"{where} must be from {limits[0]:g} to {limits[1]:g}, got {value!r}"
        raise ValueError(msg)
    if f.name == "name" and value:
        plain_name(value, where)
    return value
