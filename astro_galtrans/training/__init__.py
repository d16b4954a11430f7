"""Training of translators: recipes, batches, fits, calibration, scores, and the card of the result."""

from .card import export
from .fit import Trained, fit
from .recipe import Recipe, list_recipes, load_recipe
from .scores import score
from .train import recalibrate, train

__all__ = ["Recipe", "Trained", "export", "fit", "list_recipes", "load_recipe", "recalibrate", "score", "train"]
