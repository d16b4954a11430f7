"""Write user_guide/train_recipe.rst, the fields of a recipe, from their documentation in the code."""

from pathlib import Path

from astro_galtrans.training.recipe import SECTIONS, describe_fields

HEAD = """.. Written by docs/recipe_fields.py.

.. _train_recipe:

******************
Fields of a recipe
******************

``galtrans train RECIPE -o DIR --fields`` prints them too. A section may be left out, and so may a field that has a
default; one that is not known is an error that names the nearest. From Python, `~astro_galtrans.training.load_recipe`
takes changes: ``load_recipe("swin", hours=2.0, data={"batch_size": 64})``.
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


def main():
    parts = [HEAD]
    for section, rows in describe_fields().items():
        title = f"[{section}]" if section else "Above all sections"
        parts.append(f"\n{title}\n{'=' * len(title)}\n")
        if section:
            parts.append(f"\n{SECTIONS[section].__doc__.strip()}\n")
        parts.append(TABLE)
        for name, kind, default, meaning in rows:
            told = f"``{default}``" if default else "must be given"
            parts.append(f"   * - ``{name}``\n     - {kind}\n     - {told}\n     - {meaning}\n")
    (Path(__file__).parent / "user_guide" / "train_recipe.rst").write_text("".join(parts), encoding="utf8")


if __name__ == "__main__":
    main()
