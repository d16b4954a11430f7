"""Training of translators: recipes, batches, the loop, and the card of what came out."""

from .card import export, train
from .fit import Trained, fit
from .recipe import Recipe, list_recipes, load_recipe

__all__ = ["Recipe", "Trained", "export", "fit", "list_recipes", "load_recipe", "train"]
