"""The page of a study: whole in one file, readable by all, and alive in a browser."""

import os
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise

import pytest

LARGEST = 10e6  # bytes


class Reader(HTMLParser):
    """Tags of a page with their attributes, in order."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def text(study):
    return (study / "report.html").read_text(encoding="utf8")


def test_all_is_in_one_file(study, text):
    assert (study / "report.html").stat().st_size < LARGEST
    page = Reader(text)
    assert all(image["src"].startswith("data:") for image in page.of("img") if "src" in image)
    assert not page.of("link") and all("src" not in script for script in page.of("script"))
    assert all(link["href"].startswith("#") for link in page.of("a")) and not re.search(r"url\(|@import|https?:", text)
    shown = {image["data-file"] for image in page.of("img") if "data-file" in image}
    assert shown == {f"figures/{file.name}" for file in (study / "figures").iterdir()} and len(shown) > 2


def test_a_screen_reader_can_read_it(text):
    page = Reader(text)
    assert page.of("html") == [{"lang": "en"}] and len(page.of("h1")) == len(page.of("main")) == 1
    assert all("alt" in image for image in page.of("img"))
    assert all(image["alt"] for image in page.of("img") if "src" in image)
    assert all(slider["aria-label"] for slider in page.of("input"))
    assert all(button.get("aria-label") or "class" not in button for button in page.of("button"))
    assert all("scope" in head for head in page.of("th"))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in pairwise(levels))
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names)) and {link["href"][1:] for link in page.of("a")} <= set(names)


def test_each_metric_is_explained_and_the_best_is_marked(text):
    for words in ("Root mean square difference", "Median ratio of translated to true Kron", "(best)", "Wiener filter"):
        assert words in text


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium: $CHROMIUM, one on the path, or playwright's own."""
    playwright = pytest.importorskip("playwright.sync_api")
    names = "chromium", "chromium-browser", "google-chrome"
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with playwright.sync_playwright() as started:
        try:
            found = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except playwright.Error as err:
            pytest.skip(f"no Chromium: {err}")
        yield found
        found.close()


@pytest.fixture
def open_page(browser, study):
    """Open the page in a window of some width; what the console says at the end has to be nothing."""
    told = []

    def opened(width):
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or told.append(request.url))
        page.goto((study / "report.html").as_uri())
        return page

    yield opened
    assert told == []


@pytest.mark.parametrize("width", [1280, 390])
def test_every_image_loads_and_nothing_is_wider_than_the_window(open_page, width):
    page = open_page(width)
    images = "[...document.images].filter(i => i.hasAttribute('src'))"
    sizes = page.evaluate(f"{images}.map(i => [i.complete, i.naturalWidth])")
    assert len(sizes) > 10 and all(complete and wide for complete, wide in sizes)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_sliders_show_source_translation_and_truth(open_page):
    page = open_page(1280)
    figure = page.locator(".galaxies figure").first
    slider = figure.locator("input")
    cuts = {}
    for value in (0, 50, 100, 150, 200):
        slider.fill(str(value))
        cuts[value] = [
            figure.locator(f".{name}").first.evaluate("i => parseFloat(i.style.clipPath.split(' ')[1])")
            for name in ("translated", "truth")
        ]
    # how much of translation and truth is cut away on the right (%)
    assert cuts == {0: [100, 100], 50: [50, 100], 100: [0, 100], 150: [0, 50], 200: [0, 0]}
    assert slider.get_attribute("aria-valuetext") == "truth"
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert slider.input_value() == "199"


def test_another_translation_is_shown_when_it_is_chosen(open_page):
    page = open_page(1280)
    gallery = page.locator(".gallery").first
    seen = "g => [...new Set([...g.querySelectorAll('.translated')].filter(i => !i.hidden).map(i => i.dataset.model))]"
    assert gallery.evaluate(seen) == ["srgan-sdss-cfhtls"]
    gallery.locator("select").select_option("wiener")
    assert gallery.evaluate(seen) == ["wiener"]


def test_tables_are_sorted_by_what_is_clicked(open_page):
    page = open_page(1280)
    table = page.locator("table").first
    head = table.locator("thead th").nth(1)
    column = "t => [...t.tBodies[0].rows].map(r => r.cells[1].dataset.v).map(v => v === undefined ? null : Number(v))"
    for order, reverse in (("ascending", False), ("descending", True)):
        head.locator("button").click()
        values = table.evaluate(column)
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=reverse) and values[: len(known)] == known and len(set(known)) > 3
        assert head.get_attribute("aria-sort") == order
    table.locator("thead button").first.click()
    names = table.evaluate("t => [...t.tBodies[0].rows].map(r => r.cells[0].textContent)")
    assert names == sorted(names) and head.get_attribute("aria-sort") == "none"


def test_figures_are_enlarged_and_closed_again(open_page):
    page = open_page(1280)
    page.locator(".zoom").first.click()
    large = page.locator("dialog img")
    width = large.evaluate("i => i.clientWidth")
    assert page.locator("dialog").is_visible() and width > 800
    large.click()
    assert large.evaluate("i => i.clientWidth") > 2 * width
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
