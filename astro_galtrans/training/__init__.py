"""Training of translators: recipes, batches, fits, calibration, samplers, scores, and the card of the result."""

from .card import export
from .fit import Trained, fit
from .flow import FlowSettings
from .fluxes import make_flux_table
from .recipe import Recipe, list_recipes, load_recipe
from .sampler import add_sampler, train_sampler
from .scores import score
from .train import recalibrate, train

__all__ = [
    "FlowSettings", "Recipe", "Trained", "add_sampler", "export", "fit", "list_recipes", "load_recipe",
    "make_flux_table", "recalibrate", "score", "train", "train_sampler",
]  # fmt: skip
