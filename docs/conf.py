"""Sphinx configuration: sphinx-astropy's, and what differs from it."""

import os
import socket
import sys
from pathlib import Path

from docutils.parsers.rst import directives
from docutils.parsers.rst.directives.misc import Include
from sphinx_astropy.conf.v2 import *  # noqa: F403

import astro_galtrans

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from survey_table import SurveyTable  # noqa: E402 - beside this file

project = "astro_galtrans"
author = "The astro_galtrans developers"
copyright = f"2025, {author}"
version = release = astro_galtrans.__version__

html_title = f"astro_galtrans {version}"
html_theme_options.update(  # noqa: F405
    github_url="",
    navigation_with_keys=False,
    show_toc_level=2,
    logo={"text": "astro_galtrans"},
)
html_static_path = ["_static"]
html_css_files = ["galtrans.css"]
templates_path = []
exclude_patterns += ["_build", "tables"]  # noqa: F405
# The gallery is made from the scripts in examples/, which are run, in the order of their names.
extensions += ["sphinx_gallery.gen_gallery"]  # noqa: F405
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "write_computation_times": False,
    "capture_repr": ("_repr_html_",),
    "image_scrapers": ("matplotlib", "result_figures"),
    "reference_url": {"astro_galtrans": None},
}

# The diagrams need graphviz and say little about classes this shallow.
automodapi_inheritance_diagram = False
automodapi_toctreedirnm = "reference/api"
numpydoc_xref_param_type = False
add_function_parentheses = False
plot_html_show_source_link = False

nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"astro_galtrans\..*\b_\w+(\.\w+)*"),  # private bases, shown in signatures only
    ("py:obj", r"\w+(\.\w+)?"),  # `name` in a docstring: something beside it, or a constant, which have no page
    ("py:obj", r"astro_galtrans\..*\.[A-Z_]+"),  # constants likewise
    ("py:class", r"astro_galtrans\.(training|study)\.recipe\.\w+"),  # sections of a recipe: shown there
    ("py:class", r"astro_galtrans\.photoz\.estimators\.NetworkEstimator"),  # what both have in common
    ("py:class", r"tuple\[\w+"),  # cut by the reader of annotations
]


def _reachable(host):
    try:
        socket.create_connection((host, 443), timeout=3).close()
    except OSError:
        return False
    return True


# Without a network (a build machine, a train) links into other packages' pages stay plain text.
intersphinx_mapping = {
    "python": ("https://docs.python.org/3/", None),
    "numpy": ("https://numpy.org/doc/stable/", None),
    "astropy": ("https://docs.astropy.org/en/stable/", None),
    "photutils": ("https://photutils.readthedocs.io/en/stable/", None),
    "reproject": ("https://reproject.readthedocs.io/en/stable/", None),
    "torch": ("https://docs.pytorch.org/docs/stable/", None),
    "matplotlib": ("https://matplotlib.org/stable/", None),
}
if not all(_reachable(url.split("/")[2]) for url, _ in intersphinx_mapping.values()):
    intersphinx_mapping = {}
    others = ["numpy", "astropy", "photutils", "reproject", "torch", "gwcs", "pathlib", "typing", "collections", "abc"]
    others += ["dask", "matplotlib", "enum", "os", "scipy"]
    builtins_ = ["Exception", "ValueError", "TypeError", "ImportError", "OSError", "bool", "bytes", "dict", "float"]
    builtins_ += ["int", "list", "object", "str", "tuple", "None", "Module", "Tensor", "ABC", "NamedTuple"]
    nitpick_ignore_regex += [(r"py:.*", rf"({'|'.join(others)})(\..*)?"), (r"py:.*", rf"({'|'.join(builtins_)})")]


class Table(Include):
    """Include a table of ``docs/tables``, which the benchmarks write; without the table, no page speaks of it."""

    option_spec = Include.option_spec | {"optional": directives.flag}

    def run(self):
        """Include the file; that it is missing is an error, unless the page calls it optional."""
        path = HERE / "tables" / self.arguments[0]
        if not path.exists():
            if "optional" in self.options:
                return []
            msg = f"there is no docs/tables/{self.arguments[0]}; run its benchmark (docs/tables/README.rst)"
            raise self.error(msg)
        self.options.pop("optional", None)
        self.arguments[0] = os.path.relpath(path, Path(self.state.document.current_source).parent)
        return super().run()


def _without_pictures(_app, config):
    """Pages that show pictures of the gallery are complete without them where the gallery is not run."""
    if str(config.plot_gallery) in {"0", "False"}:
        config.suppress_warnings.append("image.not_readable")


def setup(app):
    """Register the directives ``measured-table`` and ``survey-table``, and what is done without the gallery."""
    app.connect("config-inited", _without_pictures)
    app.add_directive("measured-table", Table)
    app.add_directive("survey-table", SurveyTable)
