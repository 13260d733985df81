"""Asterisk in a container, of the image that deploy/asterisk/Dockerfile makes."""

from pathlib import Path
from typing import Any, Unpack

from deploy.local.asterisk import Configured, Options
from deploy.local.containers import Container
from deploy.local.errors import CommandFailedError
from deploy.local.process import LOG_TAIL
from deploy.local.session import LABEL

_PASSWORD = "/run/secrets/asterisk"  # noqa: S105 - where it is

#: The user of the image, who owns what it writes.
_TMPFS = "uid=10002,gid=10002,mode=0700"


class AsteriskContainer(Configured, Container):
    """Asterisk on the network of this machine; see ``services.Asterisk``.

    Args:
        client: The engine's.
        image: The image.
        directory: Where its configuration, its music and its password are; made here, in the
            directory of the session.
        options: See ``Configured``.
    """

    def __init__(
        self, client: Any, image: str, directory: Path, **options: Unpack[Options]
    ) -> None:
        Configured.__init__(self, directory, **options)
        password = directory / "password"
        password.write_text(self.ari_password)
        mounts = {
            directory / "etc": "/etc/asterisk",
            directory / "music": "/usr/share/asterisk/moh",
            password: _PASSWORD,
        }
        container = client.containers.create(
            image,
            # SIP says where media are to go; and telephones are on the loopback.
            network_mode="host",
            environment={"CALL_CONTROL_ASTERISK_PASSWORD_FILE": _PASSWORD},
            volumes={str(path): {"bind": place, "mode": "ro"} for path, place in mounts.items()},
            read_only=True,
            tmpfs=dict.fromkeys(
                ("/run/asterisk", "/var/lib/asterisk", "/var/spool/asterisk"), _TMPFS
            ),
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            labels={LABEL: str(directory.parent)},
        )
        Container.__init__(self, container, "asterisk", self.sip_port)

    def start(self) -> None:
        """Start and wait until it answers."""
        if self._status() == "created":
            self._container.start()
        super().start()

    def ready(self, port: int) -> bool:
        """Return whether it serves ARI and SIP."""
        del port
        return self.answers()

    def discard(self) -> None:
        """Remove it at once."""
        self._container.remove(force=True, v=True)

    def ctl(self, command: str) -> str:
        """Run a command of its own command line and return what it prints.

        Raises:
            CommandFailedError: it did not answer.
        """
        code, output = self._container.exec_run(["asterisk", "-rx", command])
        said = str(output.decode(errors="replace"))
        if code:
            raise CommandFailedError(f"asterisk -rx {command!r} failed:\n{said[-LOG_TAIL:]}")
        return said
