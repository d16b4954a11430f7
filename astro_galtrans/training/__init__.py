"""Training of translators: recipes, batches, the loop, and the card of what came out."""

from .card import export, recalibrate, train
from .fit import Trained, fit
from .recipe import Recipe, list_recipes, load_recipe
from .scores import score

__all__ = ["Recipe", "Trained", "export", "fit", "list_recipes", "load_recipe", "recalibrate", "score", "train"]
