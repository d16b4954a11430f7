"""Training of translators: recipes, batches, the loop, and the card of what came out."""

from .fit import fit
from .recipe import Recipe, list_recipes, load_recipe

__all__ = ["Recipe", "fit", "list_recipes", "load_recipe"]
