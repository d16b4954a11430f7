"""Batches: repeatable crops, augmented alike on both sides, bad pixels without weight."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from astro_galtrans.models.base import ModelSpec
from astro_galtrans.models.blocks import MatchedSkip
from astro_galtrans.moments import gaussian_fwhm
from astro_galtrans.pairs.store import PairHeader, PairStore, PairWriter
from astro_galtrans.psf import measured_fwhm
from astro_galtrans.surveys import get_survey
from astro_galtrans.training.augment import dihedral
from astro_galtrans.training.data import CropSampler, filled, matched_scalings, signal_pixels, stream
from astro_galtrans.training.observed import Observations, inputs_of
from astro_galtrans.training.recipe import Augment, Data

DATA = Data(crop=16, batch_size=4)
STILL = Augment(dihedral=0.0)


def sampler(pairs, augment=STILL, **options):
    return CropSampler(pairs, matched_scalings(pairs.header, 2.0), DATA, augment, **options)


def flux(batch, scalings):
    return [scaling.inverse(part.numpy()) for scaling, part in zip(scalings, batch[:2], strict=True)]


def test_matched_scalings_agree_on_surface_brightness(pairs):
    source, target = matched_scalings(pairs.header, 2.0)
    nanomaggies = np.full((2, 2, 2), 3.0)  # per coarse pixel; a quarter of it, in counts, per fine pixel
    np.testing.assert_allclose(source.forward(nanomaggies)[1:], target.forward(nanomaggies[1:] / 4 * 1000))


def test_signal_is_found_where_the_store_has_no_plane_of_it(pairs, write_pairs):
    without = write_pairs(signal=False)
    assert without.signal(0) is None
    for k in range(len(pairs)):
        np.testing.assert_array_equal(signal_pixels(pairs, k), pairs.signal(k))
        found, there = signal_pixels(without, k), pairs.signal(k)
        around = binary_dilation(there, iterations=6)
        assert (found & there).sum() > 0.9 * there.sum() and (found & ~around).sum() < 0.01 * (~around).sum()


def test_batches_are_repeatable_crops_of_the_pairs(pairs):
    ours = sampler(pairs, seed=3)
    source, target, weight = ours.batch(7)
    assert source.dtype == target.dtype == torch.float32
    assert source.shape == (4, 2, 16, 16) and target.shape == (4, 1, 32, 32) and weight is None
    again, other, elsewhere = ours.batch(7), ours.batch(8), sampler(pairs, seed=3, rank=1).batch(7)
    assert torch.equal(source, again.source) and torch.equal(target, again.target)
    assert not torch.equal(source, other.source) and not torch.equal(source, elsewhere.source)


def test_crops_come_from_the_pairs(pairs):
    source, target = flux(sampler(pairs).batch(0), matched_scalings(pairs.header, 2.0))
    places = [
        (k, y, x) for k in range(len(pairs)) for y in range(9) for x in range(9)
        if np.allclose(pairs.source(k)[:, y : y + 16, x : x + 16], source[0], rtol=1e-4, atol=1e-5)
    ]  # fmt: skip
    ((k, y, x),) = places
    expected = pairs.target(k)[:, 2 * y : 2 * y + 32, 2 * x : 2 * x + 32]
    np.testing.assert_allclose(expected, target[0], rtol=1e-4, atol=1e-3)


def test_the_dihedral_group_moves_both_alike(pairs):
    found = set()
    for step in range(12):
        still, turned = sampler(pairs).batch(step), sampler(pairs, Augment()).batch(step)
        for part in zip(still.source, still.target, turned.source, turned.target, strict=True):
            fits = [element(part[0], part[1], *part[2:]) for element in ELEMENTS]
            assert sum(fits) == 1
            found.add(fits.index(True))
    assert found == set(range(8))


def _element(turns, mirrored):
    def fits(source, target, turned_source, turned_target):
        moved = [torch.rot90(x.flip(-1) if mirrored else x, turns, (-2, -1)) for x in (source, target)]
        return torch.equal(moved[0], turned_source) and torch.equal(moved[1], turned_target)

    return fits


ELEMENTS = [_element(turns, mirrored) for mirrored in (False, True) for turns in range(4)]


def centroid(image):
    y, x = np.indices(image.shape[-2:]) - (image.shape[-1] - 1) / 2
    return np.array([(image * axis).sum() / image.sum() for axis in (y, x)])


def test_shifts_are_the_same_on_the_sky_and_keep_flux(write_pairs):
    pairs = write_pairs(8, size=40, noise=0.0)
    data = replace(DATA, crop=36, bright_share=0.0)
    scalings = matched_scalings(pairs.header, 2.0)
    still, moved = (
        flux(CropSampler(pairs, scalings, data, augment).batch(0), scalings)
        for augment in (STILL, replace(STILL, shift=1.0, shift_pixels=0.5))
    )
    shifts = []
    for k in range(4):
        coarse, fine = (centroid(moved[i][k][0]) - centroid(still[i][k][0]) for i in (0, 1))
        np.testing.assert_allclose(2 * coarse, fine, atol=0.02)
        np.testing.assert_allclose(moved[0][k].sum(), still[0][k].sum(), rtol=2e-3)
        shifts.append(coarse)
    assert np.abs(shifts).max() <= 0.51 and np.abs(shifts).max() > 0.1


def test_more_noise_is_as_large_as_asked_for(write_pairs):
    pairs = write_pairs(4, noise=0.0)
    scalings = matched_scalings(pairs.header, 2.0)
    augment = replace(STILL, noise=1.0, noise_sigma=2.0)
    added = [
        (a - b).std(axis=(2, 3)) / pairs.header.source.sky_rms()
        for step in range(30)
        for (a, _), (b, _) in [(flux(sampler(pairs, x).batch(step), scalings) for x in (augment, STILL))]
    ]
    assert sampler(pairs, augment).batch(0).source.dtype == torch.float32
    levels = np.concatenate(added)
    np.testing.assert_allclose(levels[:, 0], levels[:, 1], rtol=0.25)  # one level for all bands
    assert levels.max() < 2.3 and levels.min() < 0.3
    assert levels.mean() == pytest.approx(1.0, abs=0.15)  # uniform from 0 to 2


def test_worse_seeing_widens_and_keeps_flux_and_noise(write_pairs):
    augment = replace(STILL, seeing=1.0, seeing_fwhm=2.0)
    pairs = write_pairs(4, size=40, noise=0.0)
    scalings = matched_scalings(pairs.header, 2.0)
    data = replace(DATA, crop=32)
    still, blurred = (flux(CropSampler(pairs, scalings, data, a).batch(0), scalings) for a in (STILL, augment))
    assert np.array_equal(still[1], blurred[1])  # the target stays
    assert (blurred[0].max(axis=(2, 3)) < still[0].max(axis=(2, 3))).all()
    np.testing.assert_allclose(blurred[0].sum(axis=(2, 3)), still[0].sum(axis=(2, 3)), rtol=0.1)
    # blank sky keeps the rms of its noise, for what the blur took away is added
    sky = write_pairs(4, size=40, planes=lambda k, images: images.__setitem__(slice(None), _blank(k, images)) or {})
    blurred, _ = flux(CropSampler(sky, scalings, replace(data, batch_size=32), augment).batch(0), scalings)
    rms = blurred.std(axis=(0, 2, 3)) / sky.header.source.sky_rms()
    np.testing.assert_allclose(rms, 1, atol=0.03)


def _blank(k, images):
    rng, survey_rms = np.random.default_rng(k), (0.018, 0.027)
    return [np.stack([s * rng.normal(size=images[0].shape[1:]) for s in survey_rms]), images[1]]


def test_bad_pixels_have_no_weight_and_stand_ins(write_pairs):
    def planes(k, images):
        images[0][1, 10, 10] = np.nan
        mask = np.zeros(images[1].shape, bool)
        mask[0, 30:32] = True
        images[1][mask] = 1e9
        return {"target_mask": mask, "source_mask": np.zeros(images[0].shape, bool)}

    pairs = write_pairs(4, planes=planes)
    whole = CropSampler(pairs, matched_scalings(pairs.header, 2.0), replace(DATA, crop=24), STILL)
    source, target, weight = whole.batch(0)
    assert torch.isfinite(source).all() and target.max() < 15
    expected = torch.ones(4, 1, 48, 48)
    expected[:, :, 30:32] = 0
    expected[:, :, 20:22, 20:22] = 0  # what the bad source pixel covers
    assert torch.equal(weight, expected)
    shifted = CropSampler(pairs, whole.scalings, whole.data, replace(STILL, shift=1.0)).batch(0)
    assert (shifted.weight[:, :, 29:33] == 0).all()  # its neighbours are touched
    np.testing.assert_array_equal(filled(np.full((1, 4, 4), np.nan, "f4")), 0)


def test_shallow_targets_weigh_less(write_pairs):
    def planes(k, images):
        sky = 0.5 if k % 2 else 1.0
        survey = pairs_header.target.sky_rms(pairs_header.target_pixel_scale)[0]
        return {"target_variance": np.full(images[1].shape, (survey / sky) ** 2)}

    pairs_header = write_pairs(1).header
    pairs = write_pairs(8, planes=planes)
    weights = torch.cat([sampler(pairs).batch(step).weight.amax((1, 2, 3)) for step in range(4)])
    assert set(np.round(weights.tolist(), 4)) == {0.25, 1.0}


def test_sizes_that_do_not_fit(pairs):
    with pytest.raises(ValueError, match="do not fit in stamps of 24"):
        CropSampler(pairs, matched_scalings(pairs.header, 2.0), replace(DATA, crop=25))
    with pytest.raises(ValueError, match="no pairs to train on"):
        sampler(pairs.subset([]))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_is_the_sampler_in_order(pairs, workers):
    ours = sampler(pairs)
    batches = list(stream(ours, 3, 9, workers=workers))
    assert len(batches) == 6
    assert all(torch.equal(b.source, ours.batch(3 + k).source) for k, b in enumerate(batches))


def test_an_error_in_the_thread_arrives(pairs):
    broken = sampler(pairs)
    broken.header = None
    with pytest.raises(AttributeError):
        next(stream(broken, 0, 2))


TOLD = ModelSpec("any", ("g", "r"), ("r",), 2, 1, 8, False, True)
SEEN = {"fwhm_g": 1.6, "fwhm_r": 1.5, "beta": 3.5, "noise_g": 0.02, "noise_r": 0.05}


def test_networks_are_told_how_each_pair_was_taken(write_pairs):
    pairs = write_pairs(row=lambda k: SEEN | {"fwhm_r": 1.2 + 0.05 * k})
    scalings = matched_scalings(pairs.header, 2.0)
    whole = CropSampler(pairs, scalings, replace(DATA, crop=24, batch_size=3), STILL, spec=TOLD)
    planes = whole.batch(0).source.numpy()
    inputs = inputs_of(TOLD, pairs.header, scalings)
    observations = Observations(pairs)
    for crop in planes:
        (k,) = [k for k in range(len(pairs)) if np.allclose(scalings[0].forward(pairs.source(k)), crop[:2], atol=1e-5)]
        observed = observations[k]
        assert observed.fwhm[1] == pytest.approx(1.2 + 0.05 * k, rel=1e-3)
        np.testing.assert_allclose(observed.noise, [0.02, 0.05])
        np.testing.assert_allclose(inputs.planes(pairs.source(k), observed), crop, atol=1e-4)


def test_psfs_of_pairs_are_those_of_their_profiles_or_images_with_wings(write_pairs):
    profiles = Observations(write_pairs(number=2, row=lambda _: SEEN)).psf(1)
    assert [gaussian_fwhm(psf) * 0.396 for psf in profiles] == pytest.approx(
        measured_fwhm([1.6, 1.5], pixel_scale=0.396).tolist(), rel=0.01
    )
    y, x = np.indices((28, 28)) - 13  # of an even side, as of psField files; the last row and column are left out
    moffat, gaussian = (1 + (x**2 + y**2) / 9) ** -3.0, np.exp(-(x**2 + y**2) / 8)
    small = np.where(np.hypot(x, y) < 4, moffat, 0)
    for second in (gaussian, small):
        images = {"source_psf": np.stack([moffat, second]), "target_psf": moffat[None]}
        first, other = Observations(write_pairs(number=2, planes=lambda *_, images=images: images)).psf(1)
        np.testing.assert_allclose(
            first, moffat[:27, :27] / moffat[:27, :27].sum(), rtol=1e-3
        )  # moved to the middle, where it is to 1e-6
        assert other is None
    assert Observations(write_pairs(number=2)).psf(1) == [None, None]


def test_the_linear_answer_turns_with_the_crop(write_pairs):
    pairs = write_pairs(number=1, row=lambda _: SEEN)
    scalings = matched_scalings(pairs.header, 2.0)
    data = replace(DATA, crop=24, batch_size=8)
    still, turned = (CropSampler(pairs, scalings, data, a, spec=TOLD).batch(1) for a in (STILL, Augment(dihedral=1.0)))
    skip = MatchedSkip(("g", "r"), ("r",), 2)
    answer = skip(still.source)[0].numpy()
    for planes in turned.source:
        ours, image = skip(planes[None])[0].numpy(), planes[0].numpy()
        (element,) = [e for e in range(8) if np.array_equal(dihedral(still.source[0, 0].numpy(), e), image)]
        np.testing.assert_allclose(ours, dihedral(answer, element), atol=1e-5)


def test_of_three_bands_one_may_be_left_out(tmp_path):
    surveys = get_survey("sdss").select("gri"), get_survey("cfhtls-wide").select("gri")
    rng, header = np.random.default_rng(0), PairHeader(*surveys, 2, 24)
    with PairWriter(tmp_path, header) as writer:
        writer.add(*(rng.normal(size=(3, n, n)) for n in (24, 48)), {"index": 0})
    spec = ModelSpec("any", tuple("gri"), tuple("gri"), 2, 1, 8, False, True)
    augment, data = replace(STILL, missing=1.0), replace(DATA, batch_size=60)
    batch = CropSampler(PairStore(tmp_path), matched_scalings(header, 2.0), data, augment, spec=spec).batch(0)
    present = batch.source[:, -3:, 0, 0].numpy()
    assert set(present.sum(axis=1)) == {2, 3}
    for crop, there, weight in zip(batch.source.numpy(), present, batch.weight.numpy(), strict=True):
        assert not crop[:3][there == 0].any()
        np.testing.assert_allclose(weight.mean(axis=(1, 2)), np.where(there == 1, 1, 0.1), rtol=1e-6)
