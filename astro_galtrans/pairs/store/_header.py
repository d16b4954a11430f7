"""The header of a store, ``pairs.json``: what all its pairs share."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

from astro_galtrans._files import whole_file
from astro_galtrans._release import __version__
from astro_galtrans.surveys import Survey, get_survey

from ._shards import PATTERN

__all__ = [
    "FORMAT_VERSION", "HEADER_FILE", "MAX_SCALE", "SPLITS", "PairHeader", "claim", "default_scale", "header_of_pairs",
    "read_header",
]  # fmt: skip

FORMAT = "astro_galtrans pairs"
FORMAT_VERSION = 1  #: version of the store's format that this release writes and reads
HEADER_FILE = "pairs.json"
SPLITS = "train", "validation", "test"  #: parts of a store
MAX_SCALE = 4  #: largest number of target pixels per source pixel: more detail than that no network finds in a source


@dataclass(frozen=True)
class PairHeader:
    """What all pairs of a store share."""

    source: Survey  #: limited to the bands of the pairs, in their order
    target: Survey
    scale: int  #: target pixels per source pixel
    size: int  #: side of the source stamps (source pixels)
    simulation: dict | None = None  #: settings of a simulated set, its seed among them
    observation: dict | None = None  #: settings of a set made from images
    version: str = __version__  #: release that wrote it

    @property
    def target_pixel_scale(self):
        """Pixel scale of the target stamps (arcsec)."""
        return self.source.pixel_scale / self.scale

    @property
    def target_size(self):
        """Side of the target stamps (their pixels)."""
        return self.scale * self.size

    @property
    def source_bands(self):
        """Names of the source's bands."""
        return self.source.band_names

    @property
    def target_bands(self):
        """Names of the target's bands."""
        return self.target.band_names

    def to_dict(self):
        """Return values that JSON can hold; `from_dict` is the inverse."""
        own = {"format": FORMAT, "format_version": FORMAT_VERSION, "version": self.version}
        surveys = {"source": self.source.to_dict(), "target": self.target.to_dict()}
        rest = {name: getattr(self, name) for name in ("scale", "size", "simulation", "observation")}
        return _without_nan(own | surveys | rest)

    @classmethod
    def from_dict(cls, content):
        """Make a header of what `to_dict` returned."""
        names = "scale", "size", "simulation", "observation", "version"
        surveys = (Survey.from_dict(content[name]) for name in ("source", "target"))
        return cls(*surveys, **{name: content[name] for name in names})


def default_scale(source, target):
    """
    Return the number of target pixels per source pixel, 1 to 4, nearest to the ratio of the pixel scales of two
    surveys.

    It is 1 towards a coarser survey, for which ``translate(..., output_grid="target")`` gives the survey's own pixels.

    Parameters
    ----------
    source, target : `~astro_galtrans.surveys.Survey` or str
    """
    ratio = get_survey(source).pixel_scale / get_survey(target).pixel_scale
    return min(max(round(ratio), 1), MAX_SCALE)


def read_header(directory):
    """
    Read the `PairHeader` of a store.

    Parameters
    ----------
    directory : path-like
        Folder of the store.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged, or of another version of the format.
    """
    path = Path(directory) / HEADER_FILE
    if not path.exists():
        msg = f"{directory} is not a set of pairs (no {HEADER_FILE}); make one with: galtrans simulate, galtrans pairs"
        raise FileNotFoundError(msg)
    damaged = "delete it and make the pairs with the same settings again in the same folder: finished ones are kept"
    try:
        content = json.loads(path.read_text(encoding="utf8"))
        version = content.get("format_version") if content.get("format") == FORMAT else "none"
    except (ValueError, AttributeError) as err:  # no JSON, or not that of a header
        msg = f"{path} is damaged ({err}); {damaged}"
        raise ValueError(msg) from err
    if version != FORMAT_VERSION:
        msg = (
            f"{path} was written by another version (format {version}, astro_galtrans {content.get('version', '?')});"
            f" this is {__version__}, which reads format {FORMAT_VERSION}: make the pairs again in another folder"
        )
        raise ValueError(msg)
    try:
        return PairHeader.from_dict(content)
    except (KeyError, TypeError) as err:
        msg = f"{path} is damaged (its entries are incomplete: {err}); {damaged}"
        raise ValueError(msg) from err


def header_of_pairs(directory):
    """
    Return the `PairHeader` of the pairs in a folder, or None if it holds none.

    A header without shards is what a run left that failed before its first one; such a folder is free for other
    settings.
    """
    directory = Path(directory)
    begun = (directory / HEADER_FILE).exists() and any(directory.glob(PATTERN))
    return read_header(directory) if begun else None


def claim(directory, header):
    """
    Make the folder of a store with its header, or check that the header of the pairs in it is the same.

    Raises ValueError, naming the differences, if the folder holds pairs of other surveys or settings.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / HEADER_FILE
    there = header_of_pairs(directory)
    if there is not None:
        same = {end: getattr(there, end) for end in ("source", "target") if getattr(there, end) == getattr(header, end)}
        # surveys that are equal may still be described in other words
        differ = dict(_differences(there.to_dict(), replace(header, **same).to_dict()))
        differ.pop("version", None)
        if differ:
            msg = (
                f"{directory} holds pairs made with other settings (there, asked for): {differ}; choose another folder"
            )
            raise ValueError(msg)
        return
    with whole_file(path) as file:
        file.write_text(json.dumps(header.to_dict(), indent=1, allow_nan=False), encoding="utf8")


def _differences(there, asked, prefix=""):
    """Entries of two trees that differ, by their paths."""
    for key in sorted(set(there) | set(asked)):
        left, right = there.get(key), asked.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            yield from _differences(left, right, f"{prefix}{key}.")
        elif left != right:
            yield prefix + key, (left, right)


def _without_nan(value):
    """Tree of values with JSON's types; None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
