"""What all pairs of a store share, in ``pairs.json``."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

from astro_galtrans._files import whole_file
from astro_galtrans._release import __version__
from astro_galtrans.surveys import Survey

__all__ = ["FORMAT_VERSION", "HEADER_FILE", "PairHeader", "claim", "read_header"]

FORMAT = "astro_galtrans pairs"
FORMAT_VERSION = 1  #: version of the store's format that this release writes and reads
HEADER_FILE = "pairs.json"


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
        """Return what JSON can hold; undone by `from_dict`."""
        own = {"format": FORMAT, "format_version": FORMAT_VERSION, "version": self.version}
        surveys = {"source": self.source.to_dict(), "target": self.target.to_dict()}
        rest = {name: getattr(self, name) for name in ("scale", "size", "simulation", "observation")}
        return _without_nan(own | surveys | rest)

    @classmethod
    def from_dict(cls, content):
        """Undo `to_dict`."""
        names = "scale", "size", "simulation", "observation", "version"
        surveys = (Survey.from_dict(content[name]) for name in ("source", "target"))
        return cls(*surveys, **{name: content[name] for name in names})


def read_header(directory):
    """
    Read the header of a store.

    Parameters
    ----------
    directory : path-like
        Folder of the store.

    Returns
    -------
    `PairHeader`

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
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except ValueError as err:
        msg = f"{path} is damaged ({err}); make the pairs again in the same folder: what is there is kept"
        raise ValueError(msg) from err
    version = content.get("format_version") if content.get("format") == FORMAT else "none"
    if version != FORMAT_VERSION:
        msg = (
            f"{path} was written by another version (format {version}, astro_galtrans {content.get('version', '?')});"
            f" this is {__version__}, which reads format {FORMAT_VERSION}: make the pairs again in another folder"
        )
        raise ValueError(msg)
    return PairHeader.from_dict(content)


def claim(directory, header):
    """
    Make the folder of a store with its header, or make sure that the one there is the same.

    Parameters
    ----------
    directory : path-like
        Created if missing.
    header : `PairHeader`

    Raises
    ------
    ValueError
        If the folder holds pairs of other surveys or settings; the message names the differences.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / HEADER_FILE
    if path.exists():
        there = read_header(directory)
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
    """Turn a tree into JSON's types; JSON has no NaN."""
    if isinstance(value, dict):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
