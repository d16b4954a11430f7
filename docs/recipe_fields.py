"""Write user_guide/train_recipe.rst and study_recipe.rst, the fields of recipes, from what the code says of them."""

from pathlib import Path

from astro_galtrans.study import recipe as study
from astro_galtrans.training import recipe as training

HEAD = """.. Written by docs/recipe_fields.py.

.. _{label}:

{line}
{title}
{line}

``galtrans {command} --fields`` prints them too. A section may be left out, and so may a field that has a
default; one that is not known is an error that names the nearest. {more}
"""
TABLE = """
.. list-table::
   :header-rows: 1
   :widths: 18 8 18 56

   * - Field
     - Type
     - Default
     - Meaning
"""
PAGES = {
    "train_recipe": (
        training, "Fields of a recipe", "train RECIPE -o DIR",
        """From Python, `~astro_galtrans.training.load_recipe`
takes changes: ``load_recipe("swin", hours=2.0, data={"batch_size": 64})``.""",
    ),
    "study_recipe": (
        study, "Fields of the recipe of a study", "study",
        "Each section\n``[tasks.NAME]`` is a task.",
    ),
}  # fmt: skip


def main():
    for label, (module, title, command, more) in PAGES.items():
        parts = [HEAD.format(label=label, title=title, line="*" * len(title), command=command, more=more)]
        for section, rows in module.describe_fields().items():
            heading = f"[{section}]" if section else "Above all sections"
            parts.append(f"\n{heading}\n{'=' * len(heading)}\n")
            if section in module.SECTIONS:
                parts.append(f"\n{module.SECTIONS[section].__doc__.strip()}\n")
            parts.append(TABLE)
            for name, kind, default, meaning in rows:
                told = f"``{default}``" if default else "must be given"
                parts.append(f"   * - ``{name}``\n     - {kind}\n     - {told}\n     - {meaning}\n")
        (Path(__file__).parent / "user_guide" / f"{label}.rst").write_text("".join(parts), encoding="utf8")


if __name__ == "__main__":
    main()
