"""The settings: one frozen object, read from ``CALL_CONTROL_*`` variables once, at the edge."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FilePath,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from schemas.contract import EventNames
from worker import urls
from worker.errors import ConfigurationError

PREFIX: Final = "CALL_CONTROL_"

#: What the gateway to Asterisk reads, and workers do not.
ASTERISK_PREFIX: Final = f"{PREFIX}ASTERISK_"

#: Variables under these prefixes are other programs' business: the test suite's, whoever starts
#: the services for it (``deploy.local``), and the gateway's to Asterisk.
_FOREIGN_PREFIXES: Final = (f"{PREFIX}TEST_", f"{PREFIX}SERVICES", ASTERISK_PREFIX)

#: Settings that may stand in a file of their own instead, as secrets are mounted.
_URLS: Final = ("amqp_url", "redis_url")


class LogFormat(StrEnum):
    """How log lines look: for people, or for machines."""

    CONSOLE = "console"
    JSON = "json"


#: How much the journal keeps, in bytes, unless it is said otherwise.
JOURNAL_BYTES: Final = 8 * 1024**3


class HashExchange(StrEnum):
    """The type of the command exchange, which sends all commands of a call to one partition."""

    MODULUS = "x-modulus-hash"
    CONSISTENT = "x-consistent-hash"


class Durability(StrEnum):
    """When a commit is safe enough for its event to be published."""

    SERVER = "server"
    AOF = "aof"
    REPLICA = "replica"


class Gateway(StrEnum):
    """What the telephone network is."""

    LOOPBACK = "loopback"
    EXTERNAL = "external"


class Traces(StrEnum):
    """Where traces go."""

    NONE = "none"
    OTLP = "otlp"


class EventLoop(StrEnum):
    """Which event loop runs a process."""

    AUTO = "auto"
    ASYNCIO = "asyncio"
    UVLOOP = "uvloop"


class Settings(BaseModel):
    """Everything that can be set. The field ``x`` is the variable ``CALL_CONTROL_X``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    amqp_url: SecretStr = Field(
        SecretStr("amqp://guest:guest@127.0.0.1:5672/"),
        description="RabbitMQ, amqp:// or amqps://, with the virtual host as its path",
    )
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis: redis://, rediss://, redis+sentinel://host:port,…/name/db or"
        " redis+cluster://host:port,… (with rediss+ for TLS); where the Sentinels ask for it,"
        " …/name/db?sentinel_username=…&sentinel_password=…",
    )
    amqp_url_file: FilePath | None = Field(
        None, description="a file with CALL_CONTROL_AMQP_URL in it, instead of that"
    )
    redis_url_file: FilePath | None = Field(
        None, description="a file with CALL_CONTROL_REDIS_URL in it, instead of that"
    )
    ca_file: FilePath | None = Field(
        None, description="certificates (PEM) of who signs those of RabbitMQ and Redis, for TLS"
    )
    certificate_file: FilePath | None = Field(
        None, description="this client's own certificate (PEM), where the servers ask for one"
    )
    key_file: FilePath | None = Field(
        None, description="its unencrypted key (PEM), if that is in another file"
    )
    namespace: Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-]{0,64}$")] = Field(
        "", description="prefix of every exchange, queue and key, so that installations can share"
    )
    partitions: int = Field(
        64,
        ge=1,
        le=1024,
        description="partition queues; to be changed only as deploy/SCALING.md says",
    )
    hash_exchange: HashExchange = Field(
        HashExchange.MODULUS,
        description="type of the command exchange: x-modulus-hash (plugin rabbitmq_sharding, built"
        " into RabbitMQ 4.3), or x-consistent-hash, which keeps the order over a restart of"
        " RabbitMQ only where its metadata is in Khepri",
    )
    journal_bytes: int = Field(
        JOURNAL_BYTES,
        ge=1024**3,
        description="how much the journal keeps at most, in bytes, and that for seven days at most;"
        " fixed once it is declared",
    )
    prefetch: int = Field(
        64, ge=1, le=10_000, description="unacknowledged commands per partition (basic.qos)"
    )
    batch_size: int = Field(512, ge=1, le=2000, description="most commands in one batch")
    event_names: EventNames = Field(
        EventNames.DOCUMENTED, description="the name in an event's body: documented or canonical"
    )
    gateway: Gateway = Field(
        Gateway.LOOPBACK,
        description="the telephone network: loopback, which grants everything at once, or external:"
        " gateways, such as `callctl gateway asterisk`",
    )
    take_seconds: PositiveFloat = Field(
        5.0,
        le=3600,
        description="how long an action may wait for a gateway before its command is answered 503",
    )
    act_seconds: PositiveFloat = Field(
        10.0,
        le=3600,
        description="how long a gateway may take for an action, besides the time in which it rings,"
        " before its command is answered 504",
    )
    ring_seconds: PositiveFloat = Field(
        60.0, le=3600, description="how long a gateway lets an endpoint ring"
    )
    durability: Durability = Field(
        Durability.SERVER,
        description=(
            "what a commit waits for before its event is published: server (what the Redis server"
            " does by itself), aof (its log is on disk: WAITAOF, Redis 7.2) or replica (a replica"
            " has it: WAIT)"
        ),
    )
    ended_retention_seconds: PositiveInt = Field(
        3600, description="how long an ended call and its records are kept"
    )
    idle_expiry_seconds: PositiveInt = Field(
        86_400, description="how long a live call is kept after its last command"
    )
    heartbeat_seconds: PositiveFloat = Field(
        0.3, le=10, description="time between a worker's heartbeats"
    )
    lapse_seconds: PositiveFloat = Field(
        1.5, le=60, description="age at which a heartbeat counts no more"
    )
    standbys: int = Field(2, ge=1, le=8, description="standby workers per partition")
    hold_seconds: PositiveFloat = Field(
        10.0, description="how long commands are held while Redis is away, before they are let go"
    )
    confirm_seconds: PositiveFloat = Field(
        5.0,
        description="how long RabbitMQ may take to confirm a batch of events, before they are"
        " published again, ever less often; and then to give any other answer",
    )
    stall_seconds: PositiveFloat = Field(
        5.0, description="how long commands may wait in a partition of which none is delivered"
    )
    grace_seconds: PositiveFloat = Field(
        20.0, description="how long a stopping worker may take to finish what it has"
    )
    http_host: str = Field("127.0.0.1", description="address of /live, /ready and /metrics")
    http_port: int = Field(8080, ge=0, le=65_535, description="their port; 0 takes any free one")
    log_format: LogFormat = Field(LogFormat.CONSOLE, description="console or json")
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = Field(
        "info", description="debug, info, warning or error; debug shows phone numbers"
    )
    event_loop: EventLoop = Field(
        EventLoop.AUTO,
        description="asyncio, uvloop (extra uvloop), or auto: uvloop where it is installed",
    )
    traces: Traces = Field(
        Traces.NONE,
        description="none, or otlp: a span for each command, sent where OTEL_EXPORTER_OTLP_ENDPOINT"
        " says (extra tracing)",
    )

    @field_validator(*_URLS)
    @classmethod
    def _ends_its_credentials(cls, url: SecretStr) -> SecretStr:
        urls.check_credentials(url.get_secret_value())
        return url

    @field_validator("ca_file")
    @classmethod
    def _holds_certificates(cls, ca: Path | None) -> Path | None:
        if ca is not None:
            urls.check_ca(ca)
        return ca

    @model_validator(mode="after")
    def _files_of_tls_are_in_use(self) -> "Settings":
        if self.key_file and not self.certificate_file:
            raise ValueError(f"{PREFIX}KEY_FILE needs {PREFIX}CERTIFICATE_FILE")
        if self.certificate_file:
            urls.check_certificate(self.certificate_file, self.key_file)
        encrypted = any(
            urls.uses_tls(url.get_secret_value()) for url in (self.amqp_url, self.redis_url)
        )
        if (self.ca_file or self.certificate_file) and not encrypted:
            raise ValueError(
                f"{PREFIX}CA_FILE and {PREFIX}CERTIFICATE_FILE need a URL with amqps:// or rediss://"
            )
        return self

    @model_validator(mode="after")
    def _heartbeats_outpace_their_lapse(self) -> "Settings":
        if self.lapse_seconds < 2 * self.heartbeat_seconds:
            raise ValueError(
                f"{PREFIX}LAPSE_SECONDS must be at least twice {PREFIX}HEARTBEAT_SECONDS"
            )
        return self

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings; URLs from their files, and completed by the files of TLS.

        Raises:
            ConfigurationError: A variable has a value it cannot have, or an unknown name.
        """
        values = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(PREFIX) and not name.startswith(_FOREIGN_PREFIXES)
        }
        values |= from_files(_URLS, values)
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            raise ConfigurationError(explain(error)) from None
        files = (settings.ca_file, settings.certificate_file, settings.key_file)
        completed = {
            name: SecretStr(urls.with_tls_files(getattr(settings, name).get_secret_value(), *files))
            for name in _URLS
        }
        return settings.model_copy(update=completed)


def from_files(
    names: Iterable[str], values: Mapping[str, str], prefix: str = PREFIX
) -> dict[str, str]:
    """Return those of some settings that stand in files of their own, which ``x_file`` names.

    Raises:
        ConfigurationError: One is set in both ways, or its file cannot be read.
    """
    found = {}
    for name in names:
        path = values.get(f"{name}_file")
        if path is None:
            continue
        variable = f"{prefix}{name.upper()}"
        if name in values:
            raise ConfigurationError(f"{variable} and {variable}_FILE: set one of them")
        try:
            found[name] = Path(path).read_text().strip()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "not a text file"
            raise ConfigurationError(f"{variable}_FILE: {why}") from None
    return found


def explain(error: ValidationError, prefix: str = PREFIX) -> str:
    """Say which variables cannot be as they are, and why, without their values."""
    problems = []
    for detail in error.errors(include_url=False, include_input=False):
        variable = "".join(f"{prefix}{str(part).upper()}" for part in detail["loc"]) or "settings"
        unknown = detail["type"] == "extra_forbidden"
        problems.append(f"{variable}: {'no such setting' if unknown else detail['msg']}")
    return "; ".join(problems)
