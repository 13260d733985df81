"""Servers that speak TLS as ``deploy/`` configures it, with certificates of a private CA."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from deploy.local import Services, rabbitmq_server, redis_server
from deploy.local.rabbitmq import RabbitMQProcess
from deploy.local.redis import RedisProcess
from worker.urls import with_tls_files


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
    """Servers that are reached by TLS only."""

    rabbitmq: RabbitMQProcess
    redis: RedisProcess

    def urls(self, host: str = "127.0.0.1") -> dict[str, str]:
        """Return the settings that name them, by some name of this machine."""
        return {
            "amqp_url": self.rabbitmq.url.replace("127.0.0.1", host),
            "redis_url": self.redis.url.replace("127.0.0.1", host),
        }

    def services(self, authority: Authority) -> Services:
        """Return them with URLs that name a client's files too, for the test itself."""
        files = (authority.ca_file, authority.certificate_file, authority.key_file)
        return Services(
            "tests",
            amqp_url=with_tls_files(self.rabbitmq.url, *files),
            redis_url=with_tls_files(self.redis.url, *files),
        )


@contextmanager
def encrypted_servers(files: Mapping[str, str]) -> Iterator[Encrypted]:
    """Start both with the ``tls.conf`` of each."""
    with (
        rabbitmq_server(tls=True, files=files) as broker,
        redis_server(tls=True, files=files) as store,
    ):
        yield Encrypted(broker, store)
