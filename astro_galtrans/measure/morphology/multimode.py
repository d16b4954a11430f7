"""
The multimode statistic of many galaxies at once (Freeman et al. 2013; Peth et al. 2016).

A galaxy's pixels above a threshold fall into clumps; the statistic is the ratio of the areas of the two largest, at
the threshold where (A2 / A1) A2 is highest. statmorph labels the clumps anew for each threshold it tries. Here those
of all thresholds come from one tree: pixels are taken to the local maximum above them, and the maxima are ordered as
Prim's algorithm joins them, starting from the brightest. At any threshold the clumps are then runs of that order,
broken where two maxima are joined only at a fainter pixel.
"""

import numpy as np
import torch

__all__ = ["clump_areas", "multimode"]

STEP, SMALLEST_STEP = 0.02, 1e-3  # of quantiles, in statmorph's first search
HOPS, REL_TEMPERATURE = 5, 0.5  # statmorph's niter_bh_mid and mid_bh_rel_temp
X_TOLERANCE = F_TOLERANCE = 1e-4  # scipy's Nelder-Mead
MOST_STEPS = 200
GROUP = 64  # galaxies at a time
LARGEST = 2**23  # entries of a table of saddles


def multimode(image, number):
    """
    Measure the multimode statistic.

    Parameters
    ----------
    image : `torch.Tensor`
        ``[N, H, W]``: flux within the MID segmentation map, zero elsewhere and where it is negative.
    number : `torch.Tensor`
        ``[N]``, int64: unmasked pixels of the source's own segment, over which statmorph takes quantiles.

    Returns
    -------
    `torch.Tensor`
        ``[N]``, float64; 0 where there is a single clump at any threshold.
    """
    largest, second, threshold = clump_areas(image)
    tables = _by_quantile(largest, second, threshold)
    total = image.sum((1, 2)).cpu().numpy()
    found = _search(*(table.cpu().numpy() for table in tables), number.cpu().numpy(), total)
    return torch.from_numpy(found).to(image.device)


def clump_areas(image):
    """
    Measure the areas of the two largest clumps of 8-connected pixels above each of an image's values.

    Parameters
    ----------
    image : `torch.Tensor`
        ``[N, H, W]``; only positive pixels count.

    Returns
    -------
    largest, second : `torch.Tensor`
        ``[N, M]``, float32: areas in pixels of the clumps of the k + 1 brightest pixels; 0 where there are none.
    threshold : `torch.Tensor`
        ``[N, M]``: the (k + 1)-th brightest value, 0 beyond the last positive one.
    """
    pixels = torch.nonzero(image.flatten(1) > 0)
    count = torch.bincount(pixels[:, 0], minlength=len(image))
    results = [image.new_zeros(len(image), max(int(count.max()), 1), dtype=d) for d in (torch.float32,) * 2]
    results.append(image.new_zeros(results[0].shape))
    by_size = torch.argsort(count)  # galaxies of like size together: little of a table is padding
    for rows in by_size.split(GROUP):
        most = int(count[rows].max())
        if most:
            for result, part in zip(results, _areas(image[rows], most), strict=True):
                result[rows, :most] = part
    return results


def _areas(image, most):
    threshold, rank, position = _ranked(image, most)
    width = image.shape[2] + 2
    around = [dy * width + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    around = torch.tensor(around, device=image.device)
    own = torch.arange(most, device=image.device)
    index = (position[:, :, None] + around).clamp(min=0).flatten(1)
    neighbour = rank.gather(1, index).view(len(image), most, 8)
    neighbour = torch.where((neighbour < own[:, None]) & (threshold > 0)[:, :, None], neighbour, own[:, None])
    basin, basins = _basins(neighbour.amin(2), threshold > 0)
    few = max(1, LARGEST // basins**2)  # noise has a maximum every few pixels, and the table is of pairs of them
    parts = [_prim(_saddles(*part, basins), most) for part in zip(basin.split(few), neighbour.split(few), strict=True)]
    order, joined = (torch.cat(part) for part in zip(*parts, strict=True))
    place = torch.empty_like(order).scatter_(1, order, torch.arange(basins, device=order.device).expand_as(order))
    basin = torch.where(threshold > 0, place.gather(1, basin), -1)
    return (*_largest_runs(basin, joined), threshold)


def _ranked(image, most):
    """Brightest pixels in falling order, their positions on a canvas with a rim, and the rank of each position."""
    padded = torch.nn.functional.pad(image, (1, 1, 1, 1)).flatten(1)
    position = _falling(padded, most)
    threshold = padded.gather(1, position).clamp(min=0)
    position = torch.where(threshold > 0, position, 0)
    rank = torch.full(padded.shape, most, dtype=torch.int64, device=image.device)
    own = torch.arange(most, device=image.device).expand_as(position)
    rank.scatter_(1, position, torch.where(threshold > 0, own, most))
    rank[:, 0] = most
    return threshold, rank, position


def _falling(values, most):
    """Indices of the highest values, in falling order."""
    if values.is_cuda:
        return values.topk(most, dim=1).indices
    array = values.numpy()  # numpy sorts with the processor's vector instructions, torch does not
    return torch.from_numpy(np.argsort(-array, axis=1)[:, :most].copy())


def _basins(above, real):
    """Number the local maxima by falling brightness, and take each pixel to its own; what is padding, to any."""
    own = torch.arange(above.shape[1], device=above.device)
    number = ((above == own) & real).cumsum(1).sub(1).clamp(min=0)
    while True:
        higher = above.gather(1, above)
        if torch.equal(higher, above):
            return number.gather(1, above), int(number.max()) + 1
        above = higher


def _saddles(basin, neighbour, basins):
    """``[N, K, K]``: the rank of the brightest pixel that joins two basins."""
    number, most = basin.shape
    other = basin.gather(1, neighbour.flatten(1)).view(neighbour.shape)
    pair = (basin[:, :, None] * basins + other).flatten(1)
    rank = torch.arange(most, device=basin.device).repeat_interleave(8).expand(number, -1)
    saddle = torch.full((number, basins * basins), most, device=basin.device)
    saddle = saddle.scatter_reduce_(1, pair, rank, "amin").view(number, basins, basins)
    return torch.minimum(saddle, saddle.mT)


def _prim(saddle, most):
    """The order in which basins join the brightest one's tree, and the rank at which each does."""
    number, basins, _ = saddle.shape
    rows = torch.arange(number, device=saddle.device)
    order = torch.zeros(number, basins, dtype=torch.int64, device=saddle.device)
    joined = torch.full_like(order, most)
    nearest = saddle[:, 0].clone()
    nearest[:, 0] = taken = most + 1
    inside = nearest == taken
    for k in range(1, basins):
        joined[:, k], chosen = nearest.min(1)
        order[:, k] = chosen
        inside[rows, chosen] = True
        nearest = torch.minimum(nearest, saddle[rows, chosen]).masked_fill_(inside, taken)
    return order, joined


def _largest_runs(place, joined):
    """Areas of the two largest runs of places not broken at a rank, for all ranks."""
    number, most = place.shape
    rank = torch.arange(most, device=place.device)
    run, largest, second = torch.zeros(3, number, most, device=place.device)
    for k in range(joined.shape[1]):
        area = (place == k).float().cumsum(1)
        broken = joined[:, k, None] > rank
        ended = run * broken
        second = torch.maximum(second, torch.minimum(largest, ended))
        largest = torch.maximum(largest, ended)
        run = run - ended + area
    return torch.maximum(largest, run), torch.maximum(second, torch.minimum(largest, run))


# -- the search over thresholds


def _by_quantile(largest, second, threshold):
    """Both areas at each threshold, equal values taken together."""
    bright = (threshold > 0).sum(1)
    index = torch.arange(threshold.shape[1], device=threshold.device)
    later = torch.nn.functional.pad(threshold[:, 1:], (0, 1))
    last = torch.where((later < threshold) | (index + 1 >= bright[:, None]), index, threshold.shape[1])
    last = last.flip(1).cummin(1).values.flip(1).clamp(max=threshold.shape[1] - 1)  # equal values enter together
    return [torch.where(index < bright[:, None], table.gather(1, last), 0.0) for table in (largest, second)]


def _search(largest, second, number, total):
    """Statmorph's search: quantiles 0.02 apart, or less if all are invalid, then basin-hopping."""
    with np.errstate(divide="ignore", invalid="ignore"):
        table = np.where(second > 0, -(second.astype(float) ** 2) / largest, np.inf)

    def at(quantile, table, outside):
        # the threshold's index counts from the faintest value, the table's from the brightest
        inside = (quantile >= 0) & (quantile <= 1)
        index = np.where(inside, quantile, 0) * (number[alive][:, None] - 1)
        index = number[alive][:, None] - 1 - index.astype(np.int64)
        found = np.take_along_axis(table, np.minimum(index, table.shape[1] - 1), 1)
        return np.where(inside & (index < table.shape[1]) & np.isfinite(found), found, outside)

    start, lowest, step = np.zeros(len(number)), np.zeros(len(number)), np.zeros(len(number))
    size, searching = STEP, np.ones(len(number), dtype=bool)
    while True:
        alive = np.flatnonzero(searching)
        quantiles = np.arange(0.0, 1.0, size)
        ratio = at(np.broadcast_to(quantiles, (len(alive), len(quantiles))), table[alive], total[alive][:, None])
        best = ratio.argmin(1)
        start[alive], lowest[alive], step[alive] = quantiles[best], ratio.min(1), size
        searching = lowest >= 0
        if size < SMALLEST_STEP or not searching.any():
            break
        size /= 2
    alive = np.flatnonzero(lowest < 0)
    result = np.zeros(len(number))
    if len(alive):
        chosen, outside = table[alive], total[alive]
        final = _hop(lambda q: at(q[:, None], chosen, outside[:, None])[:, 0], start[alive], lowest[alive], step[alive])
        areas = [at(final[:, None], t[alive], 0.0)[:, 0] for t in (largest, second)]
        result[alive] = areas[1].astype(float) / areas[0]
    return result


def _hop(function, start, lowest, step):
    """`scipy.optimize.basinhopping` with statmorph's seed, of many functions of one variable."""
    random = np.random.RandomState(0)  # the sequence that scipy draws from
    temperature = -REL_TEMPERATURE * lowest
    x, energy = _nelder_mead(function, start)
    best_x, best = x.copy(), energy.copy()
    accepted, step = np.zeros(len(x)), step.copy()
    for hop in range(1, HOPS + 1):
        if hop % (HOPS / 2) == 0:  # scipy's adaptive step
            step = np.where(accepted / hop > 0.5, step / 0.9, step * 0.9)
        new_x, new = _nelder_mead(function, x + (2 * random.uniform() - 1) * step)
        accept = np.exp(np.minimum(0, -(new - energy) / temperature)) >= random.uniform()
        x, energy = np.where(accept, new_x, x), np.where(accept, new, energy)
        accepted += accept
        better = accept & (new < best)
        best_x, best = np.where(better, new_x, best_x), np.where(better, new, best)
    return best_x


def _nelder_mead(function, start):
    """`scipy.optimize.minimize(method="Nelder-Mead")` of many functions of one variable: the simplex is an interval."""
    x = np.stack([start, np.where(start == 0, 0.00025, 1.05 * start)])
    f = np.stack([function(x[0]), function(x[1])])
    for _ in range(1, MOST_STEPS):
        order = np.argsort(f, axis=0, kind="stable")
        x, f = (np.take_along_axis(v, order, 0) for v in (x, f))
        active = (np.abs(x[1] - x[0]) > X_TOLERANCE) | (np.abs(f[1] - f[0]) > F_TOLERANCE)
        if not active.any():
            break
        reflected = 2 * x[0] - x[1]
        f_reflected = function(reflected)
        down, between = f_reflected < f[0], f_reflected < f[1]
        # further out if that was better than all, half as far if better than the worst, else half way inside
        further = np.where(down, 3 * x[0] - 2 * x[1], np.where(between, 1.5 * x[0] - 0.5 * x[1], 0.5 * (x[0] + x[1])))
        f_further = function(further)
        use = np.where(down, f_further < f_reflected, np.where(between, f_further <= f_reflected, f_further < f[1]))
        shrunk = x[0] + 0.5 * (x[1] - x[0])
        new = np.where(use, further, np.where(down, reflected, shrunk))
        f_new = np.where(use, f_further, np.where(down, f_reflected, function(shrunk)))
        x[1], f[1] = np.where(active, new, x[1]), np.where(active, f_new, f[1])
    return x[0], f[0]
