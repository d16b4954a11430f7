"""
The data flow: an image of one survey goes in, its translation to another comes out.

`translate` takes one image or many (`many`); each is read and checked (`prepare`), evaluated by the network with others
of its shape (`pipeline`), and turned into flux, uncertainty and provenance (`results`).
"""

from .mosaic import translate_mosaic
from .pipeline import draw_samples, translate
from .translator import Translator, list_translators, load_translator

__all__ = ["Translator", "draw_samples", "list_translators", "load_translator", "translate", "translate_mosaic"]
