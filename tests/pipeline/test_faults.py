"""A fixed sample of `make faults`, whose whole size is for the night: tests/faults/."""

import subprocess
import sys

import pytest

from tests.pipeline.conftest import ROOT


@pytest.mark.skipif(sys.platform != "linux", reason="needs a loader that takes LD_PRELOAD")
def test_a_sample_of_faults_finds_nothing() -> None:
    # Without flipped bits: docs/trust.md says which are not noticed yet.
    faults = "kill,full disk,twice at once,cut network"
    command = [sys.executable, "-m", "tests.faults", "--size", "18", "--faults", faults]
    command += ["--variants", "fp32,int8_fast"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
