"""For sphinx-gallery: figures that pyplot does not know, which results draw; found where examples keep them."""

from matplotlib.figure import Figure


def _get_sg_image_scraper():
    return _save


def _save(_block, block_vars, gallery_conf):
    from sphinx_gallery.scrapers import figure_rst  # here, since the tests import this file without the extra `docs`

    paths = []
    for value in list(block_vars["example_globals"].values()):
        if isinstance(value, Figure) and not hasattr(value, "number"):  # pyplot numbers its own
            paths.append(next(block_vars["image_path_iterator"]))
            value.savefig(paths[-1], dpi=100)
            value.number = None  # shown
    return figure_rst(paths, gallery_conf["src_dir"])
