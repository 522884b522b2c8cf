"""One Slurm for all tests of this folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_slurm import PROGRAMS, Slurm, find


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """The cluster, for all tests that ask for it."""
    missing = [program for program in PROGRAMS if not find(program)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not found: install Debian's slurmctld, slurmd, slurm-client and munge")
    if os.geteuid() != 0:
        pytest.skip("slurmd starts jobs as root alone")
    # Munge wants a path that everybody may pass, which pytest's own folders are not.
    folder = Path(tempfile.mkdtemp(prefix="pdpanel-slurm-"))
    folder.chmod(0o711)
    cluster = Slurm(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
