"""
Every command that writes, killed at its file-system events, on a full disk and in a read-only folder.

Afterwards outputs are absent or whole, errors are told, and the next run gives the same and leaves nothing else.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Of the dear commands every so many events are tried; GALTRANS_CRASH=1 tries all of them, for some minutes.
STEPS = {
    "translate": 1, "translate-folder": 3, "zspec": 1, "calibrate": 2, "pairs": 7, "fidelity": 10, "redshift": 72,
    "train": 28, "simulate": 4, "translate-catalogue": 40, "measure": 4,
}  # fmt: skip


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks, and reads /proc")
@pytest.mark.parametrize("command", STEPS)
def test_outputs_are_whole_or_absent_and_the_next_run_is_the_same(command, tmp_path):
    for module in {"simulate": ["galsim", "speclite"], "fidelity": ["matplotlib", "jinja2"]}.get(command, []):
        pytest.importorskip(module)
    step = 1 if "GALTRANS_CRASH" in os.environ else STEPS[command]
    run = subprocess.run(
        [sys.executable, Path(__file__).with_name("crash.py"), command, tmp_path, str(step)],
        capture_output=True, text=True, timeout=3600, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr[-2000:]
