"""Cutouts, and all quantities, of galaxies with all that may go wrong, against statmorph; filters and sorting."""

import warnings

import numpy as np
import pytest
import statmorph
from astropy.utils import minversion
from scipy import ndimage

from astro_galtrans.measure.morphology import measure_morphology
from astro_galtrans.measure.morphology._jit import falling
from astro_galtrans.measure.morphology.cutouts import cut_out
from astro_galtrans.measure.morphology.filters import blur, box_filter, gaussian_weights
from astro_galtrans.measure.morphology.flood import brightest_region


def hard_galaxies(images, segmaps):
    """Galaxies as drawn, of few grey levels, at an edge, in heavy noise, masked, and without light; and their mask."""
    rng = np.random.default_rng(3)
    shifted = [(np.roll(a, (26, -9), (1, 2)), np.roll(a, (2, 20), (1, 2))) for a in (images, segmaps)]
    coarse, noisy = np.round(images), images + rng.normal(0, 3, images.shape)
    dark = np.where(segmaps[:2] > 0, 0.0, images[:2])
    dark[:, 20, 20] = 1e-3
    many = np.concatenate([images, coarse, *shifted[0], noisy, images, dark])
    maps = np.concatenate([segmaps, segmaps, *shifted[1], segmaps, segmaps, segmaps[:2]])
    maps[:, 32, 32] = np.where(maps[:, 32, 32] == 0, 1, maps[:, 32, 32])
    maps[-2:, 20, 20] = maps[-2:, 32, 32]
    mask = rng.random(many.shape) < 0.03
    mask[:18] = False
    many[5, 3:8, 3:8] = np.nan
    return many, maps, mask


# What pixels decide is the same. What searches find to some tolerance may fall on the other side of a threshold in a
# few of these galaxies, and a sky of few grey levels leaves the outline to rounding.
EXACT = "xc_centroid", "yc_centroid", "ellipticity_centroid", "orientation_centroid", "multimode", "deviation"
SKY = "sky_mean", "sky_median", "sky_sigma", "nx_stamp", "ny_stamp", "xmin_stamp", "ymax_stamp"
SEARCHED = (
    "xc_asymmetry", "yc_asymmetry", "ellipticity_asymmetry", "flux_circ", "flux_ellip", "rpetro_circ", "rpetro_ellip",
    "rmax_circ", "rmax_ellip", "rhalf_circ", "rhalf_ellip", "r20", "r50", "r80", "gini", "m20", "concentration",
    "asymmetry", "smoothness", "intensity", "sn_per_pixel", "outer_asymmetry",
)  # fmt: skip


@pytest.mark.xfail(
    minversion("statmorph", "0.7.3"), strict=True,
    reason="its _aperture_mean divides by the area that is masked or outside of the image too, against its docstring",
)  # fmt: skip
def test_quantities_are_statmorphs(drawn):
    images, segmaps, mask = hard_galaxies(drawn.images, drawn.segmaps)
    how = {"segmap": segmaps, "mask": mask, "gain": 200.0, "sersic": False, "progress": False}
    ours, theirs = measure_morphology(images, **how), measure_morphology(images, engine="statmorph", processes=1, **how)
    assert ours["flag"].tolist() == theirs["flag"].tolist()
    assert set(ours["flag"]) == {0, 1, 2}
    for name in EXACT + SKY:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-10, atol=1e-12, err_msg=name)
    for name in SEARCHED:
        np.testing.assert_array_equal(np.isnan(ours[name]), np.isnan(theirs[name]), err_msg=name)
        off = np.abs(ours[name] - theirs[name]) > 1e-3 * np.abs(theirs[name]) + 5e-3
        assert np.sum(off) <= 2, (name, np.flatnonzero(off))
    smooth = np.r_[:6, 12:36]
    np.testing.assert_allclose(ours["shape_asymmetry"][smooth], theirs["shape_asymmetry"][smooth], atol=2e-3)


@pytest.mark.parametrize("labels", ["integers", "bool"])
@pytest.mark.parametrize("with_sigma", [False, True])
def test_cutouts_are_statmorphs(drawn, rng, labels, with_sigma):
    images, segmaps, mask = (a[:14].copy() for a in hard_galaxies(drawn.images, drawn.segmaps))
    mask[4:8] = rng.random(mask[4:8].shape) < 0.03
    images[7, 30:34, 40] = np.inf
    images[8, 5, 5:8] = [1e5, 0, -1e5]  # outliers
    images[9], segmaps[10] = -np.abs(images[9]), 0
    segmaps = segmaps == 1 if labels == "bool" else segmaps
    sigma = rng.exponential(size=images.shape) if with_sigma else None
    if with_sigma:
        sigma[11, 20:40, 20] = np.nan
    cutouts = cut_out(images, segmaps, mask=mask, sigma=sigma, gain=np.full(14, 200.0))
    assert cutouts.row.tolist() == [k for k in range(14) if k not in {9, 10}]
    assert cutouts.mask[8].any()
    for k, row in enumerate(cutouts.row):
        noise = {"weightmap": sigma[row]} if with_sigma else {"gain": 200.0}
        label = int(segmaps[row, 32, 32])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source = _Cutout(images[row], segmaps[row].astype(int), label, mask=mask[row], **noise)
        inside = np.s_[k, : cutouts.ny[k], : cutouts.nx[k]]
        assert (slice(cutouts.ymin[k], cutouts.ymin[k] + cutouts.ny[k]),
                slice(cutouts.xmin[k], cutouts.xmin[k] + cutouts.nx[k])) == source._slice_stamp  # fmt: skip
        np.testing.assert_array_equal(cutouts.image[inside], source._cutout_stamp_maskzeroed)
        np.testing.assert_array_equal(cutouts.mask[inside], source._mask_stamp)
        np.testing.assert_array_equal(cutouts.source_image[inside], source._cutout_stamp_maskzeroed_no_bg)
        assert cutouts.frame[k].sum() == cutouts.ny[k] * cutouts.nx[k]


class _Cutout(statmorph.SourceMorphology):
    """statmorph's cutout of a galaxy, of which nothing is measured."""

    def _calculate_morphology(self):
        pass


# -- filters, sorting, regions


@pytest.mark.parametrize("mirrored", [True, False])
def test_blur_is_scipys(rng, mirrored):
    image = rng.normal(size=(20, 31))
    for sigma, ny, nx in ((0.0, 20, 31), (1.3, 15, 31), (9.0, 20, 7)):
        found = np.zeros_like(image)
        blur(image, ny, nx, gaussian_weights(sigma), mirrored, found)
        truth = ndimage.gaussian_filter(image[:ny, :nx], sigma, mode="reflect" if mirrored else "constant")
        np.testing.assert_allclose(found[:ny, :nx], truth, atol=1e-14)
        assert not found[ny:].any() and not found[:, nx:].any()


def test_box_filter_is_scipys(rng):
    images, sizes = rng.normal(size=(4, 20, 31)), np.array([0, 3, 4, 25])
    ny, nx = np.array([20, 15, 20, 20]), np.array([31, 31, 7, 31])
    found = box_filter(images, sizes, ny, nx)
    for k, size in enumerate(sizes.tolist()):
        truth = ndimage.uniform_filter(images[k, : ny[k], : nx[k]], max(size, 1))
        np.testing.assert_allclose(found[k, : ny[k], : nx[k]], truth, atol=1e-14)


def test_pixels_are_ordered_as_numpy_does(rng):
    values = (
        np.concatenate([rng.normal(size=300), np.round(rng.normal(size=300), 1), 1 + 1e-12 * rng.normal(size=30)]) + 0.0
    )
    np.testing.assert_array_equal(falling(values), np.argsort(-values, kind="stable"))


def test_regions_are_those_of_labels(rng):
    for image in rng.random((20, 17, 23)):
        region = np.zeros((17, 23), bool)
        above, connected, y, x = brightest_region(image, 0.6, 17, 20, region)
        labels, _ = ndimage.label(image[:, :20] >= 0.6, np.ones((3, 3)))
        assert (y, x) == np.unravel_index(image[:, :20].argmax(), (17, 20))
        np.testing.assert_array_equal(region[:, :20], labels == labels[y, x])
        assert not region[:, 20:].any()
        assert (above, connected) == ((labels > 0).sum(), region.sum())
    assert brightest_region(image, 2.0, 17, 20, region)[:2] == (0, 0) and not region.any()
