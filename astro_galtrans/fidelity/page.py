"""
Pages of results: one HTML file that holds all it shows, for eyes, for print, for a phone and for a screen reader.

A page is made of `Section` objects, which hold blocks: paragraphs (text; after an exclamation mark a warning), lists of
words and their meanings (dict), `Table`, `Figure` and `Gallery`. Pictures are part of the file, so that it can be sent
on and read without a network. Scripts sort tables, move sliders and enlarge figures; without them everything is there.
"""

import json
import re
from base64 import b64encode
from dataclasses import dataclass, field
from importlib.resources import files
from io import BytesIO

import numpy as np

from astro_galtrans._files import whole_file
from astro_galtrans._optional import require

__all__ = [
    "Cell", "Figure", "Galaxy", "Gallery", "Section", "Table", "drawn", "files_of", "picture", "table_of", "uri",
    "write_page",
]  # fmt: skip

TYPES = {"svg": "image/svg+xml", "webp": "image/webp"}
_FILES = re.compile(r'<script type="application/json" id="files">(.*?)</script>', re.DOTALL)


@dataclass(frozen=True)
class Cell:
    """An entry of a table."""

    text: str
    value: float | None = None  #: that it is sorted by
    best: bool = False  #: the best of its column?
    note: str = ""  #: in small letters below

    @classmethod
    def of(cls, entry):
        """Make a cell of any entry of a table: floats with four digits, what is not known as a dash."""
        if isinstance(entry, cls):
            return entry
        entry = entry.item() if isinstance(entry, np.generic) else entry
        if isinstance(entry, float):
            return cls(f"{entry:.4g}" if np.isfinite(entry) else "–", entry if np.isfinite(entry) else None)
        return cls(str(entry), entry if isinstance(entry, int) else None)


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by each column."""

    head: tuple
    rows: list  #: of lists of what `Cell.of` takes
    caption: str = ""
    titles: dict = field(default_factory=dict)  #: head to what it means, shown when it is pointed at

    @property
    def cells(self):
        """All rows, as `Cell` objects."""
        return [[Cell.of(entry) for entry in row] for row in self.rows]


@dataclass(frozen=True)
class Figure:
    """A picture that can be enlarged."""

    uri: str
    caption: str
    alt: str = ""
    file: str = ""  #: that holds it too, beside the page


@dataclass(frozen=True)
class Galaxy:
    """The images of a galaxy, as URIs, and what is written below them."""

    label: str
    translated: dict  #: translation to its image
    source: str | None = None
    truth: str | None = None


@dataclass(frozen=True)
class Gallery:
    """Galaxies with a slider from source over translation to truth, and a choice of translations."""

    name: str
    galaxies: list

    @property
    def models(self):
        """Names of the translations."""
        return list(self.galaxies[0].translated) if self.galaxies else []


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading."""

    title: str
    blocks: list
    level: int = 2  #: of the heading
    href: str = ""  #: where there is more of it

    @property
    def anchor(self):
        """What links to it end in."""
        return re.sub(r"\W+", "-", self.title.lower()).strip("-")


def table_of(table, longest=None, caption=""):
    """Return the first rows of an astropy table as a `Table`; columns that hold arrays are left out."""
    names = [name for name in table.colnames if np.ndim(table[name]) == 1]
    part = table[:longest]
    columns = [[getattr(entry, "value", entry) for entry in part[name]] for name in names]
    return Table(tuple(names), [list(row) for row in zip(*columns, strict=True)], caption)


def drawn(figure, kind):
    """Return a matplotlib figure as bytes, of the kind "svg" or "png"; the same figure gives the same bytes."""
    data = BytesIO()
    with require("matplotlib", extra="report").rc_context({"svg.hashsalt": "galtrans"}):
        figure.savefig(data, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return data.getvalue()


def uri(data, kind):
    """Return a picture of a kind, "svg", "png" or "webp", as a data URI; PNG as lossless WebP, which is smaller."""
    if kind == "png":
        from PIL import Image

        smaller = BytesIO()
        Image.open(BytesIO(data)).save(smaller, "webp", lossless=True)
        data, kind = smaller.getvalue(), "webp"
    return f"data:{TYPES[kind]};base64,{b64encode(data).decode()}"


def picture(pixels):
    """Return an image ``[H, W]`` or ``[H, W, 3]``, 0 to 1, the first row at the bottom, as a data URI."""
    from matplotlib.image import imsave

    data, pixels = BytesIO(), np.asarray(pixels)[::-1]
    pixels = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=-1)
    imsave(data, np.round(255 * pixels).astype(np.uint8), format="webp", pil_kwargs={"quality": 90})
    return uri(data.getvalue(), "webp")


def write_page(path, title, sections, *, about=None, lead=(), beside=()):
    """
    Write a page.

    Parameters
    ----------
    path : path-like
        The file.
    title : str
        Its title.
    sections : list of `Section`
        What is on it; with more than two, links to them come first.
    about : dict, optional
        Settings, shown at the end.
    lead : sequence of str, optional
        Paragraphs below the title.
    beside : sequence of str, optional
        Names of the files that were written with it, which `files_of` returns.

    Returns
    -------
    `~pathlib.Path`
        The file.
    """
    jinja2 = require("jinja2", extra="report")
    source = files("astro_galtrans").joinpath("fidelity/page.html").read_text(encoding="utf8")
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    kinds = {"Table": Table, "Figure": Figure, "Gallery": Gallery}
    listed = json.dumps(list(beside)).replace("<", "\\u003c")
    page = template.render(
        title=title, sections=sections, about=about or {}, lead=lead, files=listed,
        kind=lambda block: next((name for name, each in kinds.items() if isinstance(block, each)), "text"),
    )  # fmt: skip
    with whole_file(path) as file:
        file.write_text(page, encoding="utf8")
    return path


def files_of(path):
    """Return the names of the files that were written with a page."""
    found = _FILES.search(path.read_text(encoding="utf8", errors="replace"))
    return json.loads(found[1]) if found else []
