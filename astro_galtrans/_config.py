"""Defaults that a user may set once for all: astropy's configuration, in ``astro_galtrans.cfg``."""

from astropy.config import ConfigItem, ConfigNamespace

__all__ = ["Conf", "conf"]


class Conf(ConfigNamespace):
    """Defaults of astro_galtrans, read from ``astro_galtrans.cfg`` in astropy's configuration folder."""

    rootname = "astro_galtrans"
    device = ConfigItem(
        "", "Where networks compute: cpu, cuda, cuda:1, ...; empty for CUDA where there is one.",
        module="astro_galtrans",
    )  # fmt: skip
    tile_pixels = ConfigItem(
        600_000, "Source pixels in a tile of a large image, at most; some kB of memory each.",
        cfgtype="integer(min=1024)", module="astro_galtrans",
    )  # fmt: skip
    cache_dir = ConfigItem(
        "", "Folder for compiled code; empty for the package's, or else the user's cache.", module="astro_galtrans"
    )


conf = Conf()
