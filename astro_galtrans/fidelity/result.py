"""
What every diagnostic returns: tables that know how to be written, read, drawn and put on a page.

A `Result` holds tables and what they were made with, nothing else; pictures are drawn from the tables, so that a result
read from disk draws the same ones.
"""

import json
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import QTable

from astro_galtrans._files import whole_file
from astro_galtrans._optional import require

__all__ = ["FORMATS", "Result"]

FORMATS = {"ecsv": "ascii.ecsv", "fits": "fits", "parquet": "parquet"}  #: ending of the file to astropy's format
LONGEST = 60  # rows of a table on the page


class Result:
    """
    Tables of a diagnostic.

    Subclasses name themselves in `title` and have methods ``plot_NAME()`` that return a figure, or None where the
    tables have nothing to draw.

    Parameters
    ----------
    tables : dict of str to `~astropy.table.QTable`
        The tables by name.
    meta : dict, optional
        What the result was made with: plain values that JSON can hold.
    """

    title = "Diagnostics"

    def __init__(self, tables, meta=None):
        self.tables, self.meta = dict(tables), dict(meta or {})

    def __getitem__(self, name):
        if name not in self.tables:
            msg = f"there is no table {name!r}; there are {', '.join(self.tables)}"
            raise KeyError(msg)
        return self.tables[name]

    def __repr__(self):
        sizes = ", ".join(f"{name} ({len(table)} rows)" for name, table in self.tables.items())
        return f"<{type(self).__name__}: {sizes}>"

    def figures(self):
        """Yield the name and `matplotlib.figure.Figure` of everything there is to draw."""
        for method in sorted(name for name in dir(self) if name.startswith("plot_")):
            figure = getattr(self, method)()
            if figure is not None:
                yield method.removeprefix("plot_"), figure

    def write(self, path, *, format=None, overwrite=False):  # noqa: A002 - astropy's word
        """
        Write all tables.

        Parameters
        ----------
        path : path-like
            A folder, made if missing, for one file per table; or a file ending in ``.fits`` for all tables in it.
        format : {"ecsv", "fits", "parquet"}, optional
            Kind of the files in a folder; ECSV by default. Parquet needs pyarrow.
        overwrite : bool, optional
            Replace what is there; each file is written beside and renamed.

        Returns
        -------
        list of `~pathlib.Path`
            The files.

        Raises
        ------
        ValueError
            If the format is not one of these.
        OSError
            If a file exists and ``overwrite`` is False; before any is written.
        """
        path = Path(path)
        if path.suffix == ".fits" and not path.is_dir() and format in {None, "fits"}:
            _check_free([path], overwrite)
            with whole_file(path) as file:
                _hdus(self._all_tables()).writeto(file)
            return [path]
        format = format or "ecsv"  # noqa: A001
        if format not in FORMATS or path.suffix in {f".{ending}" for ending in FORMATS}:
            msg = (
                f"write to a folder with format {', '.join(FORMATS)}, or to a .fits file; got {str(path)!r}, {format!r}"
            )
            raise ValueError(msg)
        if format == "parquet":
            require("pyarrow", extra="report")
        files = {path / f"{name}.{format}": table for name, table in self._all_tables().items()}
        _check_free(files, overwrite)
        path.mkdir(parents=True, exist_ok=True)
        for file, table in files.items():
            with whole_file(file) as place:
                table.write(place, format=FORMATS[format])
        return list(files)

    @classmethod
    def read(cls, path):
        """
        Read what `write` wrote.

        Parameters
        ----------
        path : path-like
            The folder, or the ``.fits`` file.

        Raises
        ------
        FileNotFoundError
            If there is no result.
        """
        path = Path(path)
        tables = _read_hdus(path) if path.is_file() else _read_folder(path)
        if "about" not in tables:
            msg = f"{path} holds no result of a diagnostic (no table 'about')"
            raise FileNotFoundError(msg)
        about = tables.pop("about")
        return cls(tables, {str(row["what"]): json.loads(str(row["value"])) for row in about})

    def _all_tables(self):
        values = [json.dumps(value) for value in self.meta.values()]
        about = QTable([list(self.meta), values], names=["what", "value"], dtype=["str", "str"])
        return {"about": about} | self.tables

    def report(self, directory, *, format="ecsv", overwrite=False):  # noqa: A002
        """
        Write tables, figures (PNG) and a page that shows them, ``report.html``.

        Parameters
        ----------
        directory : path-like
            Where to; made if missing.
        format : {"ecsv", "fits", "parquet"}, optional
            Kind of the tables.
        overwrite : bool, optional
            Replace what is there.

        Returns
        -------
        `~pathlib.Path`
            The page.

        Raises
        ------
        ImportError
            If matplotlib or jinja2 is not installed; before anything is written.
        """
        jinja2 = require("jinja2", extra="report")
        require("matplotlib", extra="report")
        directory = Path(directory)
        page = directory / "report.html"
        _check_free([page], overwrite)
        self.write(directory, format=format, overwrite=overwrite)
        figures = []
        for name, figure in self.figures():
            figures.append(f"{name}.png")
            with whole_file(directory / figures[-1]) as file:
                figure.savefig(file, format="png")
        template = jinja2.Environment(autoescape=True).from_string(PAGE)
        tables = {name: _cells(table) for name, table in self.tables.items()}
        html = template.render(title=self.title, meta=self.meta, tables=tables, figures=figures, format=format)
        with whole_file(page) as file:
            file.write_text(html, encoding="utf8")
        return page


def _check_free(paths, overwrite):
    there = [str(path) for path in paths if path.exists()]
    if there and not overwrite:
        msg = f"{', '.join(there)} exists; overwrite=True replaces it"
        raise OSError(msg)


def _hdus(tables):
    hdus = [fits.table_to_hdu(table, name=name.upper()) for name, table in tables.items()]
    return fits.HDUList([fits.PrimaryHDU(), *hdus])


def _read_hdus(path):
    with fits.open(path) as hdus:
        names = [hdu.name for hdu in hdus[1:]]
    return {name.lower(): _as_text(QTable.read(path, hdu=name)) for name in names}


def _read_folder(path):
    for ending, kind in FORMATS.items():
        if (path / f"about.{ending}").exists():
            return {file.stem: _as_text(QTable.read(file, format=kind)) for file in sorted(path.glob(f"*.{ending}"))}
    return {}


def _as_text(table):
    """A table with text where FITS gives bytes and ECSV, for empty text, nothing."""
    table.convert_bytestring_to_unicode()
    for name in table.colnames:
        if table[name].dtype.kind == "U" and getattr(table[name], "mask", None) is not None:
            table[name] = np.asarray(table[name].filled(""))
    return table


def _cells(table):
    """Names, rows as text, and number of rows of a table, for the page."""
    rows = [[_text(value) for value in row] for row in table[:LONGEST].iterrows()]
    return table.colnames, rows, len(table)


def _text(value):
    number = getattr(value, "value", value)
    if isinstance(number, float | np.floating):
        return "" if np.isnan(number) else f"{number:.4g}"
    return str(number)


PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; margin: 0.5rem 0 }
th, td { padding: 0.2rem 0.7rem; text-align: right; border-bottom: 1px solid #ddd }
th { border-bottom: 1px solid #222 } th:first-child, td:first-child { text-align: left }
figure { margin: 1rem 0 } img { max-width: 100% } div { overflow-x: auto } caption { text-align: left }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<table>
{% for what, value in meta.items() %}<tr><td>{{ what }}</td><td style="text-align: left">{{ value }}</td></tr>
{% endfor %}</table>
{% for figure in figures %}<figure><img src="{{ figure }}" alt="{{ figure[:-4] }}"></figure>
{% endfor %}
{% for name, (columns, rows, length) in tables.items() %}<h2>{{ name }}</h2>
<div><table>
<tr>{% for column in columns %}<th>{{ column }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% if length > rows|length %}
<p>The first {{ rows|length }} of {{ length }} rows; all are in {{ name }}.{{ format }}.</p>
{% endif %}{% endfor %}
</body>
</html>
"""
