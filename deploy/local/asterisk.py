"""A private Asterisk, with what deploy/asterisk says and ports of its own."""

import random
import re
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypedDict, Unpack

from deploy.local.probes import ari_answers, sip_answers
from deploy.local.process import Process, free_port, run
from deploy.local.runtime import Runtime
from deploy.local.server import ProcessServer
from deploy.local.tones import tone

CONFIG = Path(__file__).parent.parent / "asterisk"

#: The user that deploy/asterisk/ari.conf lets in, named after the application.
USER = "call-control"

#: What is heard on hold, in Hz.
MUSIC = 700

#: A minute of it, in packets of 20 ms.
_MUSIC_FRAMES = 3000

#: Where legs get their ports from, and how many of them one server has: two for each leg. Servers
#: whose ranges overlap take turns; none of them fails.
_RTP_PORTS = range(10000, 20000)
_RTP_BLOCK = 1000

#: Seconds one command of its command line may take.
_CTL_TIMEOUT = 20.0

#: Milliseconds between the first two attempts to reach a telephone, SIP's T1. Asterisk allows no
#: less; one that is not there is given up after 64 times as much, its timer B.
_TIMER_T1_MS = 100

#: Values by file, section and name.
_Values = Mapping[str, Mapping[str, Mapping[str, str | int]]]


class Options(TypedDict, total=False):
    """What can be chosen; see ``Configured``."""

    address: str
    sip_port: int
    rtp_ports: range | None
    trunk: str
    config: Mapping[str, str]
    files: Mapping[str, str]


class Configured:
    """An Asterisk's ports and password, and the files that say so to it, in ``directory``.

    Args:
        directory: Where its configuration (``etc``) and its music (``music``) are; made here.
        address: Where SIP and RTP are, one of 127.0.0.0/8; ARI is on 127.0.0.1.
        sip_port: Where SIP is; 0 for a free one.
        rtp_ports: Where the media of its legs are; else a thousand of its own.
        trunk: Where numbers are dialled when the endpoint says no more than ``PJSIP/…@trunk``.
        config: Lines to add to files of its configuration, by the files' names.
        files: What is in such files in the place of what deploy/asterisk has.

    Attributes:
        ari_url: The address of ARI, without a path.
        ari_user: Who may use it.
        ari_password: By which password, another one for each.
        address: Where SIP and RTP are.
        sip_port: Where SIP is.
        rtp_ports: Where the media are.
    """

    def __init__(
        self,
        directory: Path,
        *,
        address: str = "127.0.0.1",
        sip_port: int = 0,
        rtp_ports: range | None = None,
        trunk: str = "127.0.0.2:5060",
        config: Mapping[str, str] = MappingProxyType({}),
        files: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._ari_port = free_port()
        self.ari_url = f"http://127.0.0.1:{self._ari_port}"
        self.ari_user = USER
        self.ari_password = secrets.token_urlsafe(16)
        self.address = address
        self.sip_port = sip_port or free_port(address, socket.SOCK_DGRAM)
        self.rtp_ports = rtp_ports or _some_rtp_ports()
        for name in ("etc", "music"):
            (directory / name).mkdir(parents=True)
        own = self._values(trunk)
        for shipped in CONFIG.glob("*.conf"):
            text = files.get(shipped.name) or shipped.read_text()
            text = _with_values(text, own.get(shipped.name, {}))
            (directory / "etc" / shipped.name).write_text(text + config.get(shipped.name, ""))
        # A file without a header: the tone goes on where it begins anew.
        (directory / "music" / "tone.ulaw").write_bytes(tone(MUSIC) * _MUSIC_FRAMES)

    def _values(self, trunk: str) -> _Values:
        """Return what this server has of its own."""
        return {
            "http.conf": {"general": {"bindport": self._ari_port}},
            "pjsip.conf": {
                "system": {"timer_t1": _TIMER_T1_MS, "timer_b": 64 * _TIMER_T1_MS},
                "udp": {"bind": f"{self.address}:{self.sip_port}"},
                "trunk": {"media_address": self.address, "bind_rtp_to_media_address": "yes"},
                "trunk-address": {"contact": f"sip:{trunk}"},
                "trunk-origin": {"match": "127.0.0.0/8"},
            },
            "rtp.conf": {"general": {"rtpstart": self.rtp_ports[0], "rtpend": self.rtp_ports[-1]}},
        }

    @property
    def sip(self) -> tuple[str, int]:
        """Where it speaks SIP: address and port."""
        return self.address, self.sip_port

    def answers(self) -> bool:
        """Return whether it serves ARI's user, and SIP."""
        # Without its port for SIP it goes on, with no more than a line in its log.
        return ari_answers(self._ari_port, self.ari_user, self.ari_password) and sip_answers(
            self.address, self.sip_port
        )


class AsteriskProcess(Configured, ProcessServer):
    """Asterisk as a process of this machine, with its files below ``directory``.

    Args:
        runtime: Where the program comes from.
        directory: Where its configuration, music, database and log are; made here.
        options: See ``Configured``.
    """

    #: It takes less than one.
    start_seconds = 30.0

    def __init__(self, runtime: Runtime, directory: Path, **options: Unpack[Options]) -> None:
        self._runtime = runtime
        self._directory = directory
        self._home = home = runtime.path(directory)
        super().__init__(directory, **options)
        for name in ("lib", "spool", "cache", "run", "log"):
            (directory / name).mkdir()
        self._options = ["-C", f"{home}/etc/asterisk.conf"]
        command = runtime.command(["asterisk", "-f", *self._options], directory)
        # What it prints is for no terminal.
        self._env = runtime.environment() | {"HOME": home, "TERM": "dumb"}
        self._process = Process("asterisk", command, self._env, directory)

    def _values(self, trunk: str) -> _Values:
        home = self._home
        return {
            **super()._values(trunk),
            "asterisk.conf": {
                "directories": {
                    "astetcdir": f"{home}/etc",
                    "astvarlibdir": f"{home}/lib",
                    "astdbdir": f"{home}/lib",
                    "astkeydir": f"{home}/lib",
                    "astspooldir": f"{home}/spool",
                    "astcachedir": f"{home}/cache",
                    "astrundir": f"{home}/run",
                    "astlogdir": f"{home}/log",
                }
            },
            "ari.conf": {USER: {"password": self.ari_password}},
            # What it prints is the process' log, and goes on after a restart.
            "logger.conf": {"logfiles": {"/dev/stdout": "notice,warning,error,verbose"}},
            "musiconhold.conf": {"default": {"directory": f"{home}/music"}},
        }

    def ctl(self, command: str) -> str:
        """Run a command of its own command line and return what it prints.

        Raises:
            CommandFailedError: it did not answer, or took longer than 20 seconds.
        """
        argv = ["asterisk", *self._options, "-r", "-x", command]
        entered = self._runtime.command(argv, self._directory)
        return run(entered, timeout=_CTL_TIMEOUT, env=self._env)


def _some_rtp_ports() -> range:
    first = random.choice(_RTP_PORTS[::_RTP_BLOCK])  # noqa: S311 - no secret
    return range(first, first + _RTP_BLOCK)


def _with_values(text: str, sections: Mapping[str, Mapping[str, str | int]]) -> str:
    """Return a file of configuration with values in the place of those that it has.

    Asterisk takes the first of two values in some files, and the last in others.
    """
    missing = {name: dict(values) for name, values in sections.items()}
    lines: list[str] = []
    for block in re.split(r"^(?=\[)", text, flags=re.MULTILINE):
        name = block.partition("]")[0].removeprefix("[")
        values = missing.pop(name, {})
        for line in block.rstrip().splitlines():
            key = re.split(r"\s*=>?\s*", line, maxsplit=1)[0]
            lines.append(f"{key} = {values.pop(key)}" if key in values else line)
        lines += [f"{key} = {value}" for key, value in values.items()]
        lines.append("")
    for name, values in missing.items():
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in values.items()), ""]
    return "\n".join(lines)
