"""A private RabbitMQ node."""

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from deploy.local.epmd import Epmd
from deploy.local.probes import listens, rabbitmq_answers
from deploy.local.process import Process, free_port, run
from deploy.local.runtime import Runtime
from deploy.local.server import ProcessServer

CONFIG = Path(__file__).parent.parent / "rabbitmq"

#: Seconds one rabbitmqctl command may take.
_CTL_TIMEOUT = 60.0

#: Debian's command of the same name in /usr/sbin switches to the user rabbitmq, who cannot
#: read a private node's directory; the script behind it runs as whoever starts it.
SCRIPTS = "/usr/lib/rabbitmq/bin"

_AMQP = "\nlisteners.tcp.1 = 127.0.0.1:{port}\n"
_MANAGEMENT = "management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {port}\n"

#: Distribution, which rabbitmqctl uses, listens on all interfaces unless told otherwise.
_LOOPBACK = "-kernel inet_dist_use_interface {127,0,0,1}"


class RabbitMQProcess(ProcessServer):
    """rabbitmq-server on free ports, with its data below ``directory``.

    Args:
        runtime: Where the programs come from.
        directory: Where its configuration, data and log are; made here.
        node: Its name, ``@localhost``.
        epmd: The port mapper it shares with others of its cluster; else it has its own.
        cookie: The secret that nodes of one cluster share.
        config: Lines to add to its configuration.
        tls: Whether ``tls.conf`` is added, with the certificates of ``files``.
        files: Files to put into the directory, by name.

    Attributes:
        port: Where clients connect.
        plain_port: Where they connect in the clear; with TLS nobody listens there.
    """

    #: Seconds until it takes connections, replaying its log included.
    start_seconds = 60.0

    #: Seconds a clean shutdown may take.
    stop_seconds = 30.0

    def __init__(
        self,
        runtime: Runtime,
        directory: Path,
        *,
        node: str = "call_control@localhost",
        epmd: Epmd | None = None,
        cookie: str = "",
        config: str = "",
        tls: bool = False,
        files: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        directory.mkdir(parents=True)
        for name, content in files.items():
            (directory / name).write_text(content)
        self._runtime = runtime
        self._directory = directory
        self.node = node
        self.plain_port, self.management_port, distribution_port = (free_port() for _ in range(3))
        self.port = free_port() if tls else self.plain_port
        self._tls = tls
        shutil.copy(CONFIG / "enabled_plugins", directory / "enabled_plugins")
        secret = directory / ".erlang.cookie"
        secret.write_text(cookie or secrets.token_hex(16))
        secret.chmod(0o400)

        self._epmd = epmd or Epmd(runtime, directory / "epmd")
        self._shares_epmd = epmd is not None
        home = runtime.path(directory)
        (directory / "rabbitmq.conf").write_text(self._configuration(home) + config)
        self._env = runtime.environment() | self._epmd.variables
        self._env |= {
            "HOME": home,
            "RABBITMQ_CONFIG_FILE": f"{home}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{home}/none",
            "RABBITMQ_CTL_ERL_ARGS": _LOOPBACK,
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/enabled_plugins",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": f"{home}/log",
            "RABBITMQ_MNESIA_BASE": f"{home}/data",
            "RABBITMQ_NODENAME": node,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _LOOPBACK,
            # The script then becomes the Erlang VM instead of a parent that waits for it.
            "RUNNING_UNDER_SYSTEMD": "true",
        }
        server = [runtime.program(f"{SCRIPTS}/rabbitmq-server", "rabbitmq-server")]
        self._process = Process(
            "rabbitmq", runtime.command(server, directory), self._env, directory
        )

    def _configuration(self, home: str) -> str:
        names = ("rabbitmq.conf", "demo.conf", *(["tls.conf"] if self._tls else []))
        shared = "".join((CONFIG / name).read_text() for name in names)
        if not self._tls:
            management = _MANAGEMENT.format(port=self.management_port)
            return shared + _AMQP.format(port=self.port) + management
        # The lines that name a port or a place have to name this node's.
        for shipped, own in (
            ("/etc/rabbitmq/tls", home),
            ("listeners.ssl.default = 5671", f"listeners.ssl.1 = 127.0.0.1:{self.port}"),
            (
                "management.ssl.port = 15671",
                f"management.ssl.ip = 127.0.0.1\nmanagement.ssl.port = {self.management_port}",
            ),
        ):
            shared = shared.replace(shipped, own)
        # In spite of it, tls.conf lets nobody in there.
        return shared + _AMQP.format(port=self.plain_port)

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"amqp{'s' if self._tls else ''}://guest:guest@127.0.0.1:{self.port}/"

    @property
    def management_url(self) -> str:
        """The address of the HTTP API and UI."""
        scheme = "https" if self._tls else "http"
        return f"{scheme}://guest:guest@127.0.0.1:{self.management_port}"

    def answers(self) -> bool:
        """Return whether it takes connections, encrypted ones where it speaks TLS."""
        return listens(self.port) if self._tls else rabbitmq_answers(self.port)

    def begin(self) -> None:
        """Start without waiting for the node."""
        self._epmd.start()
        super().begin()

    def discard(self) -> None:
        """End everything at once, epmd too unless others use it; see ``stop``, which leaves it."""
        super().discard()
        if not self._shares_epmd:
            self._epmd.discard()

    def ctl(self, *args: str) -> str:
        """Return what ``rabbitmqctl`` prints; see ``services.Broker``."""
        port = free_port()
        env = self._env | {
            "RABBITMQ_CTL_DIST_PORT_MIN": str(port),
            "RABBITMQ_CTL_DIST_PORT_MAX": str(port),
        }
        # Only the node runs these: the command line tools would start a second one.
        del env["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"], env["RABBITMQ_DIST_PORT"]
        program = self._runtime.program(f"{SCRIPTS}/rabbitmqctl", "rabbitmqctl")
        command = self._runtime.command([program, "--quiet", *args], self._directory)
        return run(command, timeout=_CTL_TIMEOUT, env=env)
