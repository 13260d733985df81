"""Prometheus and its own checks: ``promtool``, and a server that scrapes workers on loopback."""

import asyncio
import json
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

from deploy.local.process import free_port
from tests.harness import PATIENCE_SECONDS, ROOT, Worker
from tests.tools import debian_tool

ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yaml"

_SECONDS = 60


def promtool(*arguments: str, page: str = "") -> str:
    """Run a check, and return what it says; fail where it finds anything.

    Args:
        arguments: Its command line.
        page: Its standard input.
    """
    tool = debian_tool("promtool", "prometheus")
    found = subprocess.run(  # noqa: S603 - the program is a tool of the tests' own choice
        [tool.path, *arguments],
        input=page,
        env=dict(tool.environment),
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    said = found.stdout + found.stderr
    assert found.returncode == 0, said
    return said


@dataclass(frozen=True)
class Prometheus:
    """A server.

    Attributes:
        url: Where it answers.
        http: What asks it.
    """

    url: str
    http: aiohttp.ClientSession

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series that an expression comes to; fail where it is none."""
        found: list[dict[str, Any]] = (await self.get("query", query=expression))["result"]
        return found

    async def get(self, what: str, **parameters: str) -> Any:
        """Ask its API; fail where it does not answer with success."""
        async with self.http.get(f"{self.url}/api/v1/{what}", params=parameters) as response:
            answer = await response.json()
        assert response.status == HTTPStatus.OK, f"{parameters}: {answer}"
        return answer["data"]

    async def ready(self) -> bool:
        """Tell whether it answers."""
        try:
            async with self.http.get(f"{self.url}/-/ready") as response:
                return response.status == HTTPStatus.OK
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def prometheus(workers: Sequence[Worker]) -> AsyncIterator[Prometheus]:
    """Start a server that scrapes workers once a second, and evaluates the alerts."""
    tool = await asyncio.to_thread(debian_tool, "prometheus", "prometheus")
    port = free_port()
    targets = [f"127.0.0.1:{worker.http_port}" for worker in workers]
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "calls", "static_configs": [{"targets": targets}]}],
    }
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "prometheus.yaml"
        # JSON is YAML.
        file.write_text(json.dumps(configuration))
        process = await asyncio.create_subprocess_exec(
            tool.path,
            f"--config.file={file}",
            f"--storage.tsdb.path={directory}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
            env=dict(tool.environment),
            cwd=directory,
        )
        try:
            async with aiohttp.ClientSession() as http:
                server = Prometheus(f"http://127.0.0.1:{port}", http)
                for _ in range(int(PATIENCE_SECONDS * 10)):
                    assert process.returncode is None, "Prometheus has ended"
                    if await server.ready():
                        break
                    await asyncio.sleep(0.1)
                yield server
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
