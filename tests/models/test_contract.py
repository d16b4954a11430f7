"""The contract of networks: the package's own networks, and plug-ins of another package, good and bad."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import torch

pytest.register_assert_rewrite("astro_galtrans.models.contract")
from astro_galtrans.models import registry  # noqa: E402
from astro_galtrans.models.contract import *  # noqa: E402, F403 - its tests and fixtures are run here

BUILT_IN = "swin", "srgan", "capsule", "diffusion"

PLUGIN = """
import torch
from torch import nn
from astro_galtrans.models.base import Estimate, TranslationModel
from astro_galtrans.models.blocks import split_estimate

class Good(TranslationModel):
    name = "good-toy"
    PRESETS = {"tiny": {"kernel": 3}}
    margin = 3

    def __init__(self, in_bands, out_bands, scale, *, kernel):
        super().__init__(in_bands, out_bands, scale)
        self.first = nn.Conv2d(len(self.in_bands), 8, kernel, padding=1)
        self.conv = nn.Conv2d(8, 2 * len(self.out_bands) * scale**2, 1)
        self.shuffle = nn.PixelShuffle(scale)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, source):
        return Estimate(*split_estimate(self.shuffle(self.conv(torch.relu(self.first(source)))), self.skip(source)))

class Clamping(Good):
    name = "clamping-toy"

    def forward(self, source):
        mean, log_std = super().forward(source)
        return Estimate(mean.clamp(-4, 10), log_std)

class Tiled(Good):
    name = "tiled-toy"

    def forward(self, source):
        mean, log_std = super().forward(source)
        return Estimate(mean + self.conv.weight.sum() * source.mean(dim=(1, 2, 3), keepdim=True), log_std)
"""
POINTS = "[astro_galtrans.models]\ngood-toy = toys:Good\nclamping-toy = toys:Clamping\ntiled-toy = toys:Tiled\n"


def test_the_table_names_all_four():
    assert set(BUILT_IN) <= set(registry.list_models())


def test_only_diffusion_samples():
    assert [name for name in BUILT_IN if registry.get_model_class(name).stochastic] == ["diffusion"]


@pytest.mark.parametrize("name", BUILT_IN)
def test_has_the_size_it_says(name):
    count = {}
    with torch.device("meta"):  # shapes without memory
        for preset in ("tiny", "paper"):
            network = registry.get_model_class(name).from_preset(preset, "ugriz", "ugriz", 2)
            count[preset] = sum(p.numel() for p in network.parameters())
    assert 100_000 <= count["tiny"] <= 500_000
    assert count["paper"] > 1_000_000


@pytest.mark.slow
def test_the_contract_holds_networks_of_other_packages_to_account(tmp_path):
    """An installed distribution with three networks, and the command that CONTRIBUTING tells its author to run."""
    (tmp_path / "toys.py").write_text(PLUGIN)
    (tmp_path / "toys-1.0.dist-info").mkdir()
    (tmp_path / "toys-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    (tmp_path / "toys-1.0.dist-info" / "entry_points.txt").write_text(POINTS)
    package = Path(registry.__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(package)])}
    command = [sys.executable, "-m", "pytest", "--pyargs", "astro_galtrans.models.contract", "-k", "toy"]
    command += ["-q", "-p", "no:cacheprovider", "--junitxml=found.xml"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr  # 1: tests ran, and some failed
    cases = list(ET.parse(tmp_path / "found.xml").iter("testcase"))
    failed = {case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None}
    assert sum("good-toy" in case.get("name") for case in cases) > 40
    assert not [name for name in failed if "good-toy" in name], done.stdout[-4000:]
    clamping, tiled = ({name.partition("[")[0] for name in failed if bad in name} for bad in ("clamping", "tiled-toy"))
    assert "test_starts_from_the_skip_connection" in clamping and not clamping & tiled
    assert {"test_a_pixel_feels_nothing_beyond_the_margin", "test_tiles_leave_no_trace"} <= tiled
