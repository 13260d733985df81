"""The wheel and the sdist are complete, and the wheel works where the repository is not."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
import yaml

from tests.harness import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

PACKAGES = ("worker", "schemas")

#: Seconds for pip to install what is locked; a second run finds it in pip's cache.
INSTALL_SECONDS = 300


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command, without what this environment would let Python find."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(  # noqa: S603 - what these tests run
        command,
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, and the wheel that was built from it."""
    directory = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", directory)
    return directory


def only(directory: Path, pattern: str) -> Path:
    """Return the file that matches."""
    (found,) = directory.glob(pattern)
    return found


def members(built: Path) -> dict[str, set[str]]:
    """Return the paths in the wheel and in the sdist."""
    with zipfile.ZipFile(only(built, "*.whl")) as wheel:
        in_wheel = set(wheel.namelist())
    with tarfile.open(only(built, "*.tar.gz")) as sdist:
        in_sdist = {name.partition("/")[2] for name in sdist.getnames()}
    return {"wheel": in_wheel, "sdist": in_sdist}


def metadata(built: Path) -> Message:
    """Return the wheel's metadata."""
    with zipfile.ZipFile(only(built, "*.whl")) as wheel:
        (name,) = (each for each in wheel.namelist() if each.endswith("/METADATA"))
        return message_from_bytes(wheel.read(name))


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel, what is locked for it, and nothing else."""
    directory = tmp_path_factory.mktemp("installed")
    venv.create(directory, with_pip=True)
    programs = directory / "bin"
    pip = (programs / "python", "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "install", "--require-hashes", "-r", ROOT / "deploy" / "locks" / "worker.txt")
    run(*pip, "install", "--no-deps", only(built, "*.whl"))
    return programs


@pytest.mark.parametrize("archive", ["wheel", "sdist"])
def test_archives_hold_the_packages_whole_and_no_tests(built: Path, archive: str) -> None:
    """Scripts for Redis and schemas included, and the mark that types are in there."""
    found = members(built)[archive]
    expected = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and not {"__pycache__", "reference"} & set(path.parts)
    }
    assert expected <= found
    assert not any(name.startswith("worker/reference/") for name in found)
    assert {f"{package}/py.typed" for package in PACKAGES} <= expected
    assert "worker/store/commit.lua" in expected
    tops = {name.partition("/")[0] for name in found}
    assert not tops & {"tests", "deploy", ".ci", ".cache"}


def test_what_is_said_about_the_package_is_said_once_and_the_same(built: Path) -> None:
    """The version stands in pyproject.toml; the changelog and the manifests follow it."""
    said = metadata(built)
    version = PROJECT["version"]
    assert said["Version"] == version
    assert said["License-Expression"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    changes = (ROOT / "CHANGELOG.md").read_text()
    unreleased, latest, *_ = re.findall(r"^## \[(.+?)\]", changes, re.MULTILINE)
    assert (unreleased, latest) == ("Unreleased", version)
    example = ROOT / "deploy" / "kubernetes" / "example" / "kustomization.yaml"
    (image,) = yaml.safe_load(example.read_text())["images"]
    assert image["newTag"] == version


@pytest.mark.timeout(INSTALL_SECONDS)
def test_callctl_and_the_packages_work_where_the_repository_is_not(
    installed: Path, tmp_path: Path
) -> None:
    """In a clean environment, from another directory."""
    assert "Usage: callctl" in run(installed / "callctl", "--help", cwd=tmp_path)
    script = (
        "import importlib.metadata, schemas, worker, worker.service;"
        "from worker.client import CallControl;"
        "print(importlib.metadata.version('call-control-worker'));"
        "print(worker.__file__)"
    )
    version, place = run(installed / "python", "-I", "-c", script, cwd=tmp_path).split()
    assert version == PROJECT["version"]
    assert Path(place).is_relative_to(installed.parent)
    assert PROJECT["version"] in run(installed / "callctl", "--version", cwd=tmp_path)


@pytest.mark.timeout(INSTALL_SECONDS)
def test_the_locked_versions_are_what_the_package_asks_for(installed: Path) -> None:
    """No dependency is missing in the lock, and none is of another version."""
    assert "No broken requirements" in run(installed / "python", "-m", "pip", "check")


def test_the_pre_commit_configuration_is_valid_and_downloads_nothing() -> None:
    """Its one hook is `make lint`."""
    path = ROOT / ".pre-commit-config.yaml"
    run(sys.executable, "-m", "pre_commit", "validate-config", path)
    repositories = yaml.safe_load(path.read_text())["repos"]
    assert [each["repo"] for each in repositories] == ["local"]
    assert [hook["entry"] for hook in repositories[0]["hooks"]] == ["make lint"]
