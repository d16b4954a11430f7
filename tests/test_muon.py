"""Muon, against torch's own (of versions that have one) and what it is made for."""

import numpy as np
import pytest
import torch

from astro_galtrans.loop.muon import Muon, MuonAdamW, orthogonalised


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
def test_directions_count_alike(shape):
    matrix = torch.from_numpy(np.random.default_rng(0).normal(size=shape)).float()
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    ours = orthogonalised(matrix)
    assert 0.6 < torch.linalg.svdvals(ours).min() <= torch.linalg.svdvals(ours).max() < 1.3
    in_its_axes = u.T @ ours @ v.T
    assert (in_its_axes - torch.diag(torch.diag(in_its_axes))).abs().max() < 1e-3


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
@pytest.mark.parametrize("shape", [(6, 10), (24, 6)])
def test_as_torch_does(shape):
    start = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizers = [
        Muon([ours], 0.02, weight_decay=0.1),
        torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, momentum=0.95, nesterov=True, adjust_lr_fn="original"),
    ]
    for step in range(3):
        gradient = torch.randn(shape, generator=torch.Generator().manual_seed(10 + step))
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    # torch iterates in bfloat16
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-3)


def test_matrices_and_the_rest_have_rates_of_their_own():
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
    parameters = list(network.parameters())
    optimizer = MuonAdamW(parameters, [network[0].weight], 0.02, lr=0.004, weight_decay=0.0, betas=(0.9, 0.99))
    rates = {id(p): group["largest"] for group in optimizer.param_groups for p in group["params"]}
    assert [rates[id(p)] for p in parameters] == [0.02, 0.004, 0.004, 0.004]


def test_goes_on_from_a_state():
    def advance(network, optimizer, steps):
        for step in steps:
            optimizer.zero_grad()
            x = torch.randn(5, 3, generator=torch.Generator().manual_seed(step))
            network(x).square().mean().backward()
            optimizer.step()

    def make(state=None):
        torch.manual_seed(0)
        network = torch.nn.Linear(3, 4)
        optimizer = MuonAdamW(network.parameters(), [network.weight], 0.02, lr=0.01, weight_decay=0.01)
        if state:
            network.load_state_dict(state[0])
            optimizer.load_state_dict(state[1])
        return network, optimizer

    whole = make()
    advance(*whole, range(6))
    first = make()
    advance(*first, range(3))
    second = make([part.state_dict() for part in first])
    advance(*second, range(3, 6))
    torch.testing.assert_close(second[0].weight, whole[0].weight, rtol=0, atol=0)
