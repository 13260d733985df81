"""Servers that speak TLS as ``deploy/`` configures it, with certificates of a private CA."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from deploy.local import rabbitmq_server, redis_server
from deploy.local.process import free_port
from tests.harness import ROOT

_DEPLOY = ROOT / "deploy"


@dataclass(frozen=True)
class Authority:
    """A private CA, and the files of one client in a directory."""

    ca: trustme.CA
    ca_file: Path
    certificate_file: Path
    key_file: Path

    @classmethod
    def found(cls, directory: Path) -> "Authority":
        """Found one."""
        directory.mkdir()
        ca, names = trustme.CA(), ("ca.pem", "client.pem", "client.key")
        made = cls(ca, *(directory / name for name in names))
        client = ca.issue_cert("call-control-worker.example")
        ca.cert_pem.write_to_path(made.ca_file)
        client.cert_chain_pems[0].write_to_path(made.certificate_file)
        client.private_key_pem.write_to_path(made.key_file)
        return made

    def server_files(self, host: str) -> dict[str, str]:
        """Return the files of a server, by the names that ``deploy/`` gives them."""
        server = self.ca.issue_cert(host)
        return {
            "ca.pem": self.ca.cert_pem.bytes().decode(),
            "server.pem": server.cert_chain_pems[0].bytes().decode(),
            "server.key": server.private_key_pem.bytes().decode(),
        }


@dataclass(frozen=True)
class Encrypted:
    """Where the servers listen, by TLS only for the worker."""

    amqp_port: int
    redis_port: int
    plain_amqp_url: str
    plain_redis_url: str

    def urls(self, host: str = "127.0.0.1") -> dict[str, str]:
        """Return the settings that name them, by some name of this machine."""
        return {
            "amqp_url": f"amqps://guest:guest@{host}:{self.amqp_port}/",
            "redis_url": f"rediss://{host}:{self.redis_port}/0",
        }


@contextmanager
def encrypted_servers(files: Mapping[str, str]) -> Iterator[Encrypted]:
    """Start both; they listen in the clear as well, for the test itself."""
    amqp, redis = free_port(), free_port()
    config = _lines("rabbitmq", without=("listeners.tcp",)).replace("/etc/rabbitmq/tls", "{home}")
    config = config.replace("listeners.ssl.default = 5671", f"listeners.ssl.1 = 127.0.0.1:{amqp}")
    options = _lines("redis", without=("port",)).replace("/etc/redis/tls/", "").split("\n")
    split = (f"--{line}".replace('"', "").split(" ", 1) for line in options if line)
    port = ("--tls-port", str(redis), "--tls-replication", "no", "--tls-cluster", "no")
    with (
        rabbitmq_server(config, files=files) as broker,
        redis_server(*(word for pair in split for word in pair), *port, files=files) as store,
    ):
        yield Encrypted(amqp, redis, broker.url, store.url)


def _lines(server: str, without: tuple[str, ...]) -> str:
    lines = (_DEPLOY / server / "tls.conf").read_text().splitlines()
    kept = [line for line in lines if line and not line.startswith(("#", *without))]
    return "\n" + "\n".join(kept) + "\n"
