"""
Contract tests: what the rest of the package relies on in every network.

They run on all registered networks, those of other packages (entry point ``astro_galtrans.models``) among them::

    pytest --pyargs astro_galtrans.models.contract -k NAME

Nothing in the package imports this module, so that only those who test need pytest.
"""

import numpy as np
import pytest
import torch

from astro_galtrans.models import checkpoint
from astro_galtrans.models.base import ModelSpec, TranslationModel
from astro_galtrans.models.registry import get_model_class, list_models
from astro_galtrans.tiling import Tile, TilePlan, plan_tiles

NAMES = tuple(list_models())
UGRIZ = tuple("ugriz")
BRIGHT = np.arcsinh(1e5 / 2)  # a pixel of 100,000 sigma where the softening is two sigma


def build(name, in_bands=UGRIZ, out_bands=UGRIZ, scale=2, seed=0):
    """Return an untrained tiny network."""
    torch.manual_seed(seed)
    return get_model_class(name).from_preset("tiny", in_bands, out_bands, scale)


def shaken(name, *args, **kwargs):
    """Return one whose parameters are all at work: an untrained network ends in zeros and would pass too easily."""
    model = build(name, *args, **kwargs).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.add_(torch.randn_like(parameter), alpha=0.2 / parameter[0].numel() ** 0.5)
    return model


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return shaken(request.param)


def sky(shape, channels=5, seed=0):
    """Return a source in network units: noise, a star and a galaxy of very different brightness."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape)
    star = 3000 * np.exp(-((y - shape[0] / 3) ** 2 + (x - shape[1] / 4) ** 2) / 4)
    galaxy = 30 * np.exp(-np.hypot(y - shape[0] / 2, x - shape[1] / 1.5) / 4)
    colours = np.linspace(0.3, 1, channels)[:, None, None]
    return np.arcsinh(colours * (star + galaxy) + 0.5 * rng.normal(size=(channels, *shape))).astype(np.float32)


def translated(model, source, tile=None, **options):
    """Return the first `Prediction` of a whole image."""
    spec = model.spec
    shape = source.shape[1:]
    plan = plan_tiles(shape, scale=spec.scale, multiple_of=spec.multiple_of, margin=spec.margin, tile=tile)
    return next(model.predict(source, plan, seed=3, **options))


def smallest_tile(spec):
    """Return the smallest side of a tile that has something to say beyond its margins."""
    return spec.multiple_of * (2 * spec.margin // spec.multiple_of + 2)


def state(model):
    return {key: value.clone() for key, value in model.inference_state_dict().items()}


@pytest.mark.parametrize("name", NAMES)
def test_describes_itself(name):
    model = build(name, "ugri", "gr", 3)
    assert isinstance(model, TranslationModel)
    cls = get_model_class(name)  # the name in the table has to be the class's own, which files of weights refer to
    expected = ModelSpec(name, tuple("ugri"), ("g", "r"), 3, model.multiple_of, model.margin, cls.stochastic)
    assert model.spec == expected
    assert model.multiple_of >= 1
    assert model.margin >= 1


@pytest.mark.parametrize("name", NAMES)
def test_wrong_settings_are_named(name):
    cls = get_model_class(name)
    with pytest.raises(ValueError, match=f"unknown preset 'huge' of {name}; choose from .*tiny"):
        cls.from_preset("huge", UGRIZ, UGRIZ, 2)
    with pytest.raises(ValueError, match="has no setting 'widht'"):
        cls.from_preset("tiny", UGRIZ, UGRIZ, 2, widht=3)
    with pytest.raises(ValueError, match="scale must be one of"):
        cls.from_preset("tiny", UGRIZ, UGRIZ, 5)
    with pytest.raises(ValueError, match="different names"):
        cls.from_preset("tiny", "gg", UGRIZ, 2)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize(("in_bands", "out_bands"), [("ugriz", "gri"), ("r", "gr")])
def test_any_bands_and_scale(name, scale, in_bands, out_bands):
    network = shaken(name, in_bands, out_bands, scale)
    prediction = translated(network, sky((9, 14), len(in_bands)))
    for plane in prediction:
        assert plane.shape == (len(out_bands), 9 * scale, 14 * scale)
        assert plane.dtype == np.float32
        assert np.isfinite(plane).all()
    assert (prediction.std > 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 3), (33, 47)])
def test_any_size(model, shape):
    values, std = translated(model, sky(shape))
    assert values.shape == std.shape == (5, 2 * shape[0], 2 * shape[1])
    assert np.isfinite(values).all()
    assert np.isfinite(std).all()


def difficult(kind):
    source = np.zeros((5, 24, 24), dtype=np.float32)
    if kind == "hot pixel":
        source[:, 12, 11] = BRIGHT
    elif kind == "bright block":
        source[:, 8:16, 5:14] = BRIGHT
    elif kind == "negative":
        source[:, 12, 11] = -5.0
    return source


@pytest.mark.parametrize("kind", ["blank", "hot pixel", "bright block", "negative"])
def test_finite_whatever_the_sky(model, kind):
    values, std = translated(model, difficult(kind))
    assert np.isfinite(values).all()
    assert np.isfinite(std).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["blank", "hot pixel", "bright block", "negative"])
@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_gradients_are_finite(name, kind, progress):
    network = build(name)
    network.prepare_training()
    groups = network.optimizer_groups()
    source = torch.from_numpy(difficult(kind))[None]
    target = network.skip(source) + 0.1 * torch.randn(1, 5, 48, 48)
    trained = 0
    for group, terms in zip(groups, network.losses(source, target, progress), strict=False):
        assert all(torch.isfinite(term) for term in terms.values()), terms
        gradients = torch.autograd.grad(sum(terms.values()), group)
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
        trained += 1
    assert trained == (len(groups) if progress == 1 else 1)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name):
    """After two steps, which take the zeros out of the last layer, no parameter has a gradient of zero."""
    network = build(name)
    network.prepare_training()
    groups = network.optimizer_groups()
    optimizers = [torch.optim.Adam(group, 1e-3) for group in groups]
    source = torch.from_numpy(np.stack([sky((16, 16), seed=seed) for seed in range(2)]))
    target = network.skip(source) + 0.3 * torch.randn(2, 5, 32, 32)
    start = [p.detach().clone() for group in groups for p in group]
    for _ in range(3):
        for optimizer, terms in zip(optimizers, network.losses(source, target, 1.0), strict=True):
            optimizer.zero_grad()
            sum(terms.values()).backward()
            optimizer.step()
    names = {id(p): name for name, p in network.named_parameters()}
    parameters = [p for group in groups for p in group]
    assert {id(p) for p in parameters} == set(names)  # each parameter has one optimizer
    unmoved = [names[id(p)] for p, old in zip(parameters, start, strict=True) if torch.equal(p, old)]
    assert unmoved == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("kind", ["sky", "bright block", "negative"])
def test_starts_from_the_skip_connection(name, scale, kind):
    """Also where it is very bright or below zero: a network that limits fluxes loses those that it has not seen."""
    network = build(name, UGRIZ, ("g", "r"), scale).eval()
    source = torch.from_numpy(sky((13, 18)) if kind == "sky" else difficult(kind))[None]
    with torch.inference_mode():
        mean, log_std = network(source)
        torch.testing.assert_close(mean, network.skip(source), rtol=0, atol=1e-6)
    if kind == "sky":
        assert -2 < log_std.mean() < -0.5


def test_a_pixel_feels_nothing_beyond_the_margin(model):
    """Everything farther than the margin from a tile is changed; what is inside the tile stays, bit for bit."""
    margin, step = model.margin, model.multiple_of
    size = 2 * margin + 4 * step
    source = torch.from_numpy(sky((size, size)))[None]
    inside = slice(margin + step // 2, margin + step // 2 + 3 * step)  # not aligned with the strides
    changed = torch.full_like(source, 7.0)
    known = slice(inside.start - margin, inside.stop + margin)
    changed[..., known, known] = source[..., known, known]
    assert not torch.equal(changed, source)
    fine = slice(model.scale * inside.start, model.scale * inside.stop)
    with torch.inference_mode():
        for before, after in zip(model(source), model(changed), strict=True):
            assert torch.equal(before[..., fine, fine], after[..., fine, fine])
            assert not torch.equal(before, after)


@pytest.mark.parametrize("extra", [8, 24])
def test_tiles_leave_no_trace(model, extra):
    """Tiled equals untiled to 0.01 of the local noise."""
    side = smallest_tile(model.spec)
    source = sky((side + 19, side + 13))
    whole = translated(model, source, tile=source.shape[1:])
    tiled = translated(model, source, tile=side + extra)
    assert np.abs(tiled.values - whole.values).max() < 0.01 * whole.std.min()
    np.testing.assert_allclose(tiled.std, whole.std, rtol=0.01)


def test_batches_leave_no_trace(model):
    side = smallest_tile(model.spec)
    source = sky((side + 2 * model.multiple_of, side))
    one, three = (translated(model, source, tile=side, batch_size=size) for size in (1, 3))
    np.testing.assert_allclose(one.values, three.values, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(one.std, three.std, rtol=1e-4)


def test_images_of_a_batch_do_not_see_each_other(model):
    batch = torch.from_numpy(np.stack([sky((20, 17), seed=seed) for seed in range(3)]))
    with torch.inference_mode():
        together = model(batch)
        alone = [model(image[None]) for image in batch]
    for k, part in enumerate(together):
        torch.testing.assert_close(part, torch.cat([estimate[k] for estimate in alone]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_survives_a_file(name, tmp_path):
    """A file rebuilds the network without what only training needed, and it answers the same."""
    network = shaken(name, UGRIZ, "gri", 2)
    saved = state(network)
    network.prepare_training()
    card = {key: {} for key in checkpoint.REQUIRED}
    checkpoint.save(tmp_path / "network.safetensors", network, card)
    loaded = checkpoint.load(tmp_path / "network.safetensors").model
    assert loaded.state_dict().keys() == saved.keys()
    assert all(torch.equal(value, saved[key]) for key, value in loaded.state_dict().items())
    assert loaded.spec == network.spec
    source = sky((11, 12))
    for ours, theirs in zip(translated(network, source), translated(loaded, source), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_decides_the_untrained_network(name):
    first, again, other = (state(build(name, seed=seed)) for seed in (4, 4, 5))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_answers_repeat_and_leave_the_global_generator_alone(model):
    source = sky((10, 9))
    before = torch.random.get_rng_state()
    first, again = (translated(model, source) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(first.values, again.values)
    np.testing.assert_array_equal(first.std, again.std)


def test_samples_differ_if_it_samples(model):
    source = sky((10, 9))
    plan = plan_tiles((10, 9), scale=2, multiple_of=model.multiple_of, margin=model.margin)
    samples = list(model.predict(source, plan, n_samples=2, seed=1))
    if model.stochastic:
        assert len(samples) == 2
        assert not np.array_equal(samples[0].values, samples[1].values)
        other = next(model.predict(source, plan, seed=2))
        assert not np.array_equal(samples[0].values, other.values)
    else:
        assert len(samples) == 1


def test_progress_counts_what_was_announced(model):
    source, calls = sky((20, 3 * smallest_tile(model.spec))), []
    spec = model.spec
    plan = plan_tiles(
        source.shape[1:], scale=spec.scale, multiple_of=spec.multiple_of, margin=spec.margin,
        tile=smallest_tile(spec),
    )  # fmt: skip
    n_samples = 2 if model.stochastic else 1
    list(model.predict(source, plan, n_samples=n_samples, seed=1, progress=calls.append))
    assert sum(calls) == len(plan.tiles) * model.evaluations(n_samples)


def test_images_below_each_other_are_as_alone(model):
    """Each has a seed of its own, and the same answer as by itself."""
    images, spec = [sky((10, 9), seed=seed) for seed in (0, 1)], model.spec
    tiles = tuple(Tile(10 * k, 10 * (k + 1), 0, 9) for k in range(2))
    seeds = [3, 4] if model.stochastic else None
    both = next(model.predict(np.concatenate(images, axis=1), TilePlan((20, 9), tiles, spec.scale, 0), seed=seeds))
    plan = TilePlan((10, 9), (Tile(0, 10, 0, 9),), spec.scale, 0)
    for k, image in enumerate(images):
        alone = next(model.predict(image, plan, seed=seeds and seeds[k]))
        rows = slice(10 * k * spec.scale, 10 * (k + 1) * spec.scale)
        np.testing.assert_allclose(both.values[:, rows], alone.values, rtol=1e-3, atol=1e-4)


def test_input_is_not_edited(model):
    source = sky((12, 12))
    copy = source.copy()
    translated(model, source)
    np.testing.assert_array_equal(source, copy)


def test_gradient_steps_help(model):
    """A few steps on one batch lower the flux error: the loss and the forward pass belong together."""
    network = build(model.name)
    network.prepare_training()
    source = torch.from_numpy(np.stack([sky((16, 16), seed=seed) for seed in range(2)]))
    truth = network.skip(source) * 1.1 + 0.2  # a change of flux that any network can learn
    optimizer = torch.optim.Adam(network.optimizer_groups()[0], 5e-4)
    history = []
    for _ in range(24):
        terms = next(iter(network.losses(source, truth, 0.0, torch.Generator().manual_seed(1))))
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        history.append(float(terms["flux"].detach()))
    assert min(history[-2:]) < 0.9 * history[0]
