"""Dockerfiles and compose.yaml, as far as they can be checked without an engine."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local import docker
from tests.harness import ROOT
from tests.tools import unavailable
from worker.gateways.asterisk.settings import AsteriskSettings
from worker.settings import ASTERISK_PREFIX, PREFIX, Gateway, Settings

DOCKERFILES = sorted((ROOT / "deploy").rglob("Dockerfile"))
KNOWN = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
KNOWN_TO_GATEWAYS = KNOWN | {
    f"{ASTERISK_PREFIX}{name.upper()}" for name in AsteriskSettings.model_fields
}

ASTERISK = ROOT / "deploy" / "asterisk"
COMPOSE = ROOT / "deploy" / "compose.yaml"
CALLS = ROOT / "deploy" / "compose.calls.yaml"


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


def test_asterisk_s_image_is_built_on_what_the_engine_s_stand_in_is_called() -> None:
    """The same for the other image."""
    dockerfile = (ASTERISK / "Dockerfile").read_text()
    assert f"ARG DEBIAN_IMAGE={docker.DEBIAN_IMAGE}\n" in dockerfile
    assert re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE) == ["${DEBIAN_IMAGE}"]


@pytest.mark.parametrize(
    ("path", "known"),
    [
        (ROOT / "deploy" / "Dockerfile", KNOWN),
        (COMPOSE, KNOWN),
        (CALLS, KNOWN_TO_GATEWAYS),
        (ASTERISK / "docker-entrypoint.sh", KNOWN_TO_GATEWAYS),
    ],
    ids=lambda each: str(each.relative_to(ROOT)) if isinstance(each, Path) else "",
)
def test_every_variable_is_a_setting(path: Path, known: set[str]) -> None:
    """A process does not start with one that it does not know."""
    found = set(re.findall(rf"\b({PREFIX}[A-Z_]+)\b", path.read_text()))
    assert found
    assert found <= known


def test_compose_lets_a_worker_finish_its_drain() -> None:
    """Killed before, it would lose nothing, but its calls would pause."""
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    worker = services["worker"]
    settings = Settings.from_environment(worker["environment"])
    assert seconds(worker["stop_grace_period"]) >= settings.grace_seconds + 8
    assert worker["scale"] == 2


def test_compose_publishes_nothing_to_other_machines() -> None:
    """Everybody is guest there."""
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    published = [port for each in services.values() for port in each.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def services_for_calls() -> dict[str, dict[str, Any]]:
    """Return the services of compose.calls.yaml, with what a variable is if nobody sets it."""
    text = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", CALLS.read_text())
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    return found


def test_compose_with_calls_has_workers_and_gateway_agree() -> None:
    """Workers ask gateways, and theirs finds RabbitMQ and Asterisk where the others put them."""
    services = services_for_calls()
    workers = yaml.safe_load(COMPOSE.read_text())["services"]["worker"]
    asked = Settings.from_environment(workers["environment"] | services["worker"]["environment"])
    assert asked.gateway == Gateway.EXTERNAL
    gateway = services["gateway"]
    given = {name: str(value or "") for name, value in gateway["environment"].items()}
    settings = Settings.from_environment(given)
    # On the network of the machine, so to nobody else.
    assert settings.http_host == "127.0.0.1"
    assert seconds(gateway["stop_grace_period"]) >= settings.grace_seconds + 8
    del given[f"{ASTERISK_PREFIX}PASSWORD_FILE"]
    own = AsteriskSettings.from_environment(given)
    port = re.search(r"^bindport = (\d+)$", (ASTERISK / "http.conf").read_text(), re.MULTILINE)
    assert port
    assert own.url == f"http://127.0.0.1:{port[1]}"
    assert own.sip_endpoint == ""


def test_the_password_is_in_a_file_that_only_those_get_who_need_it() -> None:
    """Git does not take it, and no environment has it."""
    services = services_for_calls()
    assert {name for name, each in services.items() if "secrets" in each} == {"gateway", "asterisk"}
    for name in ("gateway", "asterisk"):
        variables = services[name]["environment"]
        (secret,) = services[name]["secrets"]
        assert variables[f"{ASTERISK_PREFIX}PASSWORD_FILE"] == f"/run/secrets/{secret}"
        assert f"{ASTERISK_PREFIX}PASSWORD" not in variables
    place = re.search(r"file: \$\{ASTERISK_PASSWORD_FILE:-\./(\w+)/\w+\}", CALLS.read_text())
    assert place
    assert f"deploy/{place[1]}/" in (ROOT / ".gitignore").read_text().splitlines()


def test_asterisk_in_compose_is_confined_and_writes_in_memory() -> None:
    """Of the places that its image writes to each is there, and its user's."""
    asterisk = services_for_calls()["asterisk"]
    dockerfile = (ASTERISK / "Dockerfile").read_text()
    written = re.search(r"^VOLUME (.+)$", dockerfile, re.MULTILINE)
    user = re.search(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)
    assert written
    assert user
    rights = f"uid={user[1]},gid={user[2]},mode=0700"
    assert asterisk["tmpfs"] == [f"{path}:{rights}" for path in written[1].split()]
    for each in (asterisk, services_for_calls()["gateway"]):
        assert each["read_only"]
        assert each["cap_drop"] == ["ALL"]
        assert each["network_mode"] == "host"


def entered(tmp_path: Path, *, password: str, more: str = "") -> str:
    """Have Asterisk's entry point put the configuration together, below a directory of the test.

    Return what it would start.
    """
    script = (ASTERISK / "docker-entrypoint.sh").read_text()
    for place in ("/etc/asterisk.d", "/etc/asterisk", "/run/asterisk"):
        (tmp_path / place[1:]).mkdir(parents=True, exist_ok=True)
    script = re.sub(r"(?<![\w}])/(etc|run)/asterisk", rf"{tmp_path}/\1/asterisk", script)
    for shipped in ASTERISK.glob("*.conf"):
        shutil.copy(shipped, tmp_path / "etc" / "asterisk")
    (tmp_path / "etc" / "asterisk.d" / "pjsip.conf").write_text(more)
    (tmp_path / "secret").write_text(f"{password}\n")
    command = tmp_path / "asterisk"
    command.write_text('#!/bin/sh\necho "$@"\n')
    command.chmod(0o755)
    done = subprocess.run(  # noqa: S603 - what these tests are about
        ["/bin/sh", "-c", script, "docker-entrypoint.sh", "asterisk", "-f"],
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            f"{ASTERISK_PREFIX}PASSWORD_FILE": str(tmp_path / "secret"),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_asterisk_is_started_with_what_is_shipped_what_is_added_and_the_password(
    tmp_path: Path,
) -> None:
    """In files that only it can read; twice, as when a container is started again."""
    addition = "[trunk-address](+)\ncontact = sip:provider.example\n"
    made = tmp_path / "run" / "asterisk" / "etc"
    for _ in range(2):
        said = entered(tmp_path, password="half;half", more=addition)  # noqa: S106 - no secret
        assert said.split() == ["-f", "-C", str(made / "asterisk.conf")]
    assert "half" not in said
    assert {each.name for each in made.iterdir()} == {each.name for each in ASTERISK.glob("*.conf")}
    assert all(each.stat().st_mode & 0o077 == 0 for each in (made, *made.iterdir()))
    shipped = (ASTERISK / "ari.conf").read_text()
    # A semicolon begins a comment there, unless a backslash is before it.
    added = "[call-control](+)\npassword = half\\;half\n"
    assert (made / "ari.conf").read_text() == f"{shipped}\n{added}"
    assert (made / "pjsip.conf").read_text().endswith(f"{addition}\n")
    assert f"[directories]\nastetcdir = {made}\n" in (made / "asterisk.conf").read_text()
    assert "\n/dev/stdout => notice" in (made / "logger.conf").read_text()
