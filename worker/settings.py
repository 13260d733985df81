"""The settings: one frozen object, read from ``CALL_CONTROL_*`` variables once, at the edge."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)

from schemas.contract import EventNames
from worker.errors import ConfigurationError

PREFIX: Final = "CALL_CONTROL_"

#: Variables under these prefixes are other programs' business (the test suite's).
_FOREIGN_PREFIXES: Final = (f"{PREFIX}TEST_",)


class LogFormat(StrEnum):
    """How log lines look: for people, or for machines."""

    CONSOLE = "console"
    JSON = "json"


class HashExchange(StrEnum):
    """The type of the command exchange, which sends all commands of a call to one partition."""

    MODULUS = "x-modulus-hash"
    CONSISTENT = "x-consistent-hash"


class Durability(StrEnum):
    """When a commit is safe enough for its event to be published."""

    SERVER = "server"
    AOF = "aof"
    REPLICA = "replica"


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
        " redis+cluster://host:port,… (with rediss+ for TLS)",
    )
    namespace: Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-]{0,64}$")] = Field(
        "", description="prefix of every exchange, queue and key, so that installations can share"
    )
    partitions: int = Field(
        64, ge=1, le=1024, description="partition queues; a number for ever, see the README"
    )
    hash_exchange: HashExchange = Field(
        HashExchange.MODULUS,
        description="type of the command exchange: x-modulus-hash (plugin rabbitmq_sharding, built"
        " into RabbitMQ 4.3), or x-consistent-hash, which keeps the order over a restart of"
        " RabbitMQ only where its metadata is in Khepri",
    )
    prefetch: int = Field(
        64, ge=1, le=10_000, description="unacknowledged commands per partition (basic.qos)"
    )
    batch_size: int = Field(512, ge=1, le=2000, description="most commands in one batch")
    event_names: EventNames = Field(
        EventNames.DOCUMENTED, description="the name in an event's body: documented or canonical"
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
        30.0, description="how long RabbitMQ may take to confirm a batch of events"
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

    @model_validator(mode="after")
    def _heartbeats_outpace_their_lapse(self) -> "Settings":
        if self.lapse_seconds < 2 * self.heartbeat_seconds:
            raise ValueError(
                f"{PREFIX}LAPSE_SECONDS must be at least twice {PREFIX}HEARTBEAT_SECONDS"
            )
        return self

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings.

        Raises:
            ConfigurationError: A variable has a value it cannot have, or an unknown name.
        """
        values = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(PREFIX) and not name.startswith(_FOREIGN_PREFIXES)
        }
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigurationError(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    problems = []
    for detail in error.errors(include_url=False, include_input=False):
        variable = "".join(f"{PREFIX}{str(part).upper()}" for part in detail["loc"]) or "settings"
        unknown = detail["type"] == "extra_forbidden"
        problems.append(f"{variable}: {'no such setting' if unknown else detail['msg']}")
    return "; ".join(problems)
