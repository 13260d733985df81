"""Dockerfiles and compose.yaml, as far as they can be checked without an engine."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deploy.local import docker
from tests.harness import ROOT
from tests.tools import unavailable
from worker.settings import PREFIX, Settings

DOCKERFILES = sorted((ROOT / "deploy").rglob("Dockerfile"))
KNOWN = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}


def seconds(text: str) -> float:
    """Read a duration as compose.yaml has them."""
    assert text.endswith("s")
    return float(text.removesuffix("s"))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_dockerfiles_are_in_order(path: Path) -> None:
    """What hadolint finds is an error."""
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if hadolint is None:
        unavailable("hadolint has no wheel for this machine")
    done = subprocess.run(  # noqa: S603 - a locked program, on files of this repository
        [hadolint, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_image_is_built_on_what_the_engine_s_stand_in_is_called() -> None:
    """So that it is built here just as it is elsewhere: without any argument."""
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    assert f"ARG PYTHON_IMAGE={docker.PYTHON_IMAGE}\n" in dockerfile
    sources = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert sources == ["${PYTHON_IMAGE}", "${PYTHON_IMAGE}"]


def test_every_variable_is_a_setting() -> None:
    """A worker does not start with one that it does not know."""
    found = {
        path: set(re.findall(rf"\b({PREFIX}[A-Z_]+)\b", path.read_text()))
        for path in (ROOT / "deploy" / "Dockerfile", docker.DEPLOY / "compose.yaml")
    }
    assert all(found.values())
    assert set().union(*found.values()) <= KNOWN


def test_compose_lets_a_worker_finish_its_drain() -> None:
    """Killed before, it would lose nothing, but its calls would pause."""
    services = yaml.safe_load((docker.DEPLOY / "compose.yaml").read_text())["services"]
    worker = services["worker"]
    settings = Settings.from_environment(worker["environment"])
    assert seconds(worker["stop_grace_period"]) >= settings.grace_seconds + 8
    assert worker["scale"] == 2


def test_compose_publishes_nothing_to_other_machines() -> None:
    """Everybody is guest there."""
    services = yaml.safe_load((docker.DEPLOY / "compose.yaml").read_text())["services"]
    published = [port for each in services.values() for port in each.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
