"""Results: what was written is what is read, in every format, and a page shows it."""

from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable

from astro_galtrans.fidelity.result import Result


class Example(Result):
    title = "Examples <of> results"

    def plot_line(self):
        """A line `~numpy.array` of ``x``; None without one."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(2, 2))
        figure.subplots().plot(self["many"]["x"])
        return figure

    def plot_nothing(self):
        return None


@pytest.fixture
def result(rng):
    few = QTable({"model": ["a", "b<i>"], "text": ["", "x"], "value": [0.5, np.nan], "n": [3, 4]})
    many = QTable({"x": rng.normal(size=100), "magnitude": rng.uniform(15, 20, 100) * u.mag})
    many["flux"] = rng.uniform(1, 2, 100) * u.nmgy  # which the FITS standard does not know
    return Example({"few": few, "many": many}, {"seed": 1, "models": ["a", "b"], "share": 0.25, "of": {"deep": None}})


@pytest.mark.parametrize("place", [("folder", None), ("folder", "fits"), ("all.fits", None)])
def test_what_is_read_is_what_was_written(result, tmp_path, place):
    files = result.write(tmp_path / place[0], format=place[1])
    assert all(file.exists() for file in files)
    assert not [file for file in tmp_path.rglob(".*") if file.is_file()]  # nothing half written is left
    again = Example.read(tmp_path / place[0])
    assert again.meta == result.meta
    assert set(again.tables) == {"few", "many"}
    assert list(again["few"]["model"]) == ["a", "b<i>"] and list(again["few"]["text"]) == ["", "x"]
    for name in ("value", "n"):
        np.testing.assert_array_equal(again["few"][name], result["few"][name])
    np.testing.assert_array_equal(again["many"]["x"], result["many"]["x"])
    assert (again["many"]["magnitude"] == result["many"]["magnitude"]).all()
    assert again["many"]["magnitude"].unit == u.mag
    assert again["many"]["flux"].unit == u.nmgy and (again["many"]["flux"] == result["many"]["flux"]).all()


def test_tables_of_an_earlier_result_are_not_read(result, tmp_path):
    result.write(tmp_path)
    Example({"few": result["few"][:1]}, {"seed": 2}).write(tmp_path, overwrite=True)
    again = Example.read(tmp_path)
    assert list(again.tables) == ["few"] and len(again["few"]) == 1 and again.meta == {"seed": 2}


@pytest.mark.parametrize(("first", "second"), [("ecsv", "fits"), ("fits", "ecsv")])
def test_a_folder_holds_a_result_in_one_format(result, tmp_path, first, second):
    result.write(tmp_path, format=first)
    other = Example({"few": result["few"][:1]}, {"seed": 2})
    with pytest.raises(OSError, match=rf"about\.{first} exists"):
        other.write(tmp_path, format=second)
    other.write(tmp_path, format=second, overwrite=True)
    again = Example.read(tmp_path)
    assert again.meta == {"seed": 2} and len(again["few"]) == 1


def test_one_fits_file_has_a_table_per_extension(result, tmp_path):
    (path,) = result.write(tmp_path / "all.fits")
    with fits.open(path) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus[1:]] == ["ABOUT", "FEW", "MANY"]


def test_nothing_is_replaced_unasked(result, tmp_path):
    result.write(tmp_path)
    before = (tmp_path / "many.ecsv").read_bytes()
    other = Example({"many": result["many"][:1]})
    with pytest.raises(OSError, match=r"many\.ecsv"):
        other.write(tmp_path)
    assert (tmp_path / "many.ecsv").read_bytes() == before
    other.write(tmp_path, overwrite=True)
    assert len(Example.read(tmp_path)["many"]) == 1


@pytest.mark.parametrize(("name", "kind"), [("x", "csv"), ("x.ecsv", None), ("x", "parquet")])
def test_formats_that_are_not_offered(result, tmp_path, name, kind):
    with pytest.raises(ValueError, match="write to a folder"):
        result.write(tmp_path / name, format=kind)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_a_result(tmp_path):
    with pytest.raises(FileNotFoundError, match="no result"):
        Example.read(tmp_path)


def test_unknown_table_names_the_known_ones(result):
    with pytest.raises(KeyError, match="few, many"):
        result["lots"]


@pytest.fixture
def long():
    """Three models, of which one has no quantity ``late``; ``early`` is in regions, ``late`` in colours."""
    rows = [
        (model, band, region, "early", statistic, "r")
        for model in "abc" for band in "gri" for region in ("all", "source") for statistic in ("bias", "scatter")
    ] + [(model, band, "sky", "late", "bias", "d") for model in "bc" for band in ("g - r", "r - i")]  # fmt: skip
    table = QTable(rows=rows, names=["model", "band", "region", "quantity", "statistic", "pair"])
    table["value"] = np.arange(len(table), dtype=float)
    table["low"], table["high"], table["n"] = table["value"] - 1, table["value"] + 2, 7
    return Result({"statistics": table}, {"bands": ["g", "r", "i"]})


@pytest.mark.parametrize(
    ("asked", "row"),
    [
        ({"quantity": "early"}, ("a", "r", "all", "early", "bias")),
        ({"quantity": "early", "statistic": "scatter", "model": "c"}, ("c", "r", "all", "early", "scatter")),
        ({"quantity": "early", "region": "source", "band": "i"}, ("a", "i", "source", "early", "bias")),
        ({"quantity": "late"}, ("b", "r - i", "sky", "late", "bias")),
    ],
)
def test_one_figure_of_the_long_table(long, asked, row, tmp_path):
    table = long["statistics"]
    names = ["model", "band", "region", "quantity", "statistic"]
    (place,) = [k for k in range(len(table)) if tuple(table[name][k] for name in names) == row]
    assert long.value(**asked) == (place, place - 1, place + 2)
    long.write(tmp_path)
    assert Result.read(tmp_path).value(**asked) == long.value(**asked)
    assert long.models == ["a", "b", "c"] and long.bands == ["g", "r", "i"]


def test_a_figure_that_is_not_there(long):
    with pytest.raises(KeyError, match=r"quantity='eary'.*model: a, b, c;.*quantity: early, late; statistic: bias, sc"):
        long.value("eary")
    with pytest.raises(KeyError, match="no column 'rejoin'; there are model, band, region"):
        long.value("early", rejoin="all")


def test_in_a_notebook(result):
    page = result._repr_html_()
    assert "Examples &lt;of&gt; results" in page and page.count("<table") == 2 and "b&lt;i&gt;" in page


class Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.cells, self.images = [], []

    def handle_starttag(self, tag, attrs):
        if tag == "img" and "src" in dict(attrs):
            self.images.append(dict(attrs))

    def handle_data(self, data):
        self.cells.append(data)


def test_the_page_shows_tables_and_figures(result, tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    Image = pytest.importorskip("PIL.Image")
    page = result.report(tmp_path / "out")
    parser = Cells()
    parser.feed(page.read_text(encoding="utf8"))
    (image,) = parser.images
    assert image["data-file"] == "line.png"
    content = (page.parent / "line.png").read_bytes()
    shown = b64decode(image["src"].removeprefix("data:image/webp;base64,"))
    assert content.startswith(b"\x89PNG") and shown.startswith(b"RIFF")
    ours, theirs = (np.asarray(Image.open(BytesIO(each)).convert("RGB")) for each in (shown, content))
    np.testing.assert_array_equal(ours, theirs)
    assert {"Examples <of> results", "b<i>", "0.5", "few", "many"} <= set(parser.cells)
    assert any("first 60 of 100 rows" in cell for cell in parser.cells)
    assert "A line array of x." in parser.cells
    with pytest.raises(OSError, match="exists"):
        result.report(tmp_path / "out")


def test_names_are_escaped_on_a_page():
    evil = "<script>alert(1)</script>"
    page = Result({evil: QTable({"model": [evil], "value": [1.0]})})._repr_html_()
    assert "alert(1)" in page and "<script>" not in page


class Keyed(Result):
    """
    Two figures.

    ``statistics``
        What `~numpy.median` says
        of ``value``.
    """

    key, claim = {"quantity": "early", "statistic": "bias"}, "the bias"


@pytest.mark.parametrize(("number", "warned"), [(99, True), (100, False)])
def test_a_report_opens_with_its_key_figure_and_says_where_galaxies_are_few(long, tmp_path, number, warned):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    long["statistics"]["n"] = number
    keyed = Keyed(long.tables, long.meta | {"level": 0.68})
    sentences = keyed.verdict()
    assert len(sentences) == 3
    assert sentences[0].startswith(f"a: the bias in r is 4 (68 % interval 3 to 6, {number} galaxies).")
    page = keyed.report(tmp_path).read_text(encoding="utf8")
    assert ("Few galaxies" in sentences[0]) == ("statistics are of fewer" in page) == warned
    assert all(sentence in page for sentence in sentences) and "<p>What median says of value.</p>" in page
    assert Keyed({"statistics": long.rows("statistics", quantity="late")}).verdict() == []


def test_a_figure_whose_name_leads_elsewhere_is_not_written(result, tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    elsewhere = type("Elsewhere", (Example,), {"plot_/../up": Example.plot_line})(result.tables)
    with pytest.raises(ValueError, match=r"name of a figure is '/\.\./up'"):
        elsewhere.report(tmp_path / "out")
    assert not list(tmp_path.rglob("*.png"))
