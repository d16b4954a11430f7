"""The directive ``survey-table``: the shipped surveys as their data files describe them; no number is typed twice."""

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from astro_galtrans import get_survey, list_surveys

HEAD = """.. list-table::
   :header-rows: 1
   :widths: 8 12 12 14 14 40

   * - Band
     - FWHM (arcsec)
     - Depth (AB)
     - Sky rms
     - Electrons
     - Filter curve
"""


class SurveyTable(Directive):
    """One table for each survey, with the sources of its values."""

    def run(self):
        """Parse the text of all surveys into nodes."""
        text = "\n".join(_describe(get_survey(name)) for name in list_surveys())
        container = nodes.container()
        self.state.nested_parse(StringList(text.splitlines(), "survey-table"), self.content_offset, container)
        return container.children


def _describe(survey):
    unit = f"{survey.flux_unit} (AB zero point {survey.zeropoint:g})"
    title = f"**{survey.name}**: {survey.title}. Pixels of {survey.pixel_scale:g} arcsec, flux in {unit}.\n"
    rows = [
        [
            b.name,
            f"{b.fwhm:.2f}",
            f"{survey.depth(b.name):.1f}",
            f"{b.sky_rms:.3g}",
            f"{b.electrons:.3g}",
            f"``{b.filter}``",
        ]
        for b in survey.bands
    ]
    table = HEAD + "".join("   * - " + "\n     - ".join(row) + "\n" for row in rows)
    sources = "\n".join(f"- *{quantity}*: {source}" for quantity, source in survey.sources)
    return f"{title}\n{table}\n{sources}\n"
