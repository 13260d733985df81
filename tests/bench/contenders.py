"""Who competes, as data: to add a contender is to add one line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

from dramatiq import Message
from pamqp.common import FieldTable
from taskiq import TaskiqMessage

from tests.bench.commands import Sent
from worker.settings import Settings

#: What the command of a contender that Python runs as a module starts with.
_PEERS: Final = "tests.bench.peers"


def _plain(command: Sent, queue: str) -> bytes:
    del queue
    return command.body


def _for_dramatiq(command: Sent, queue: str) -> bytes:
    message: Message[None] = Message(
        queue_name=queue,
        actor_name="on_command",
        args=(command.fields, command.id),
        kwargs={},
        options={},
        message_id=command.id,
    )
    return message.encode()


def _for_taskiq(command: Sent, queue: str) -> bytes:
    del queue
    message = TaskiqMessage(
        task_id=command.id,
        task_name="on_command",
        labels={},
        args=[command.fields, command.id],
        kwargs={},
    )
    return message.model_dump_json().encode()


def _quorum(queue: str) -> FieldTable:
    del queue
    return {"x-queue-type": "quorum"}


def _quorum_with_dead_letters(suffix: str, queue: str) -> FieldTable:
    return {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": f"{queue}{suffix}",
    }


@dataclass(frozen=True, slots=True)
class Contender:
    """One who competes.

    Attributes:
        key: Its name on the command line and in the results.
        title: Its name for people.
        command: What Python is run with.
        settings: The worker's settings that are not at their defaults.
        is_limit: Whether it does less than the job, to show how far anyone could get.
        consumes: Whether it takes commands from a queue; else it counts them in Redis.
        encode: Makes the body of a command, given the queue.
        arguments: Arguments of its queue, as the framework declares it, given its name.
        queues: What the framework declares besides, behind the queue's name.
        exchanges: Likewise.
    """

    key: str
    title: str
    command: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_limit: bool = False
    consumes: bool = True
    encode: Callable[[Sent, str], bytes] = _plain
    arguments: Callable[[str], FieldTable] = _quorum
    queues: tuple[str, ...] = ()
    exchanges: tuple[str, ...] = ()

    @property
    def is_worker(self) -> bool:
        """Whether it is the worker, which has partitions instead of one queue."""
        return self.command == _WORKER


_WORKER: Final = ("-m", "worker", "worker")

#: Everyone's figures are compared with those of this one.
BASE: Final = "faststream"

WORKER: Final = Contender("worker", "call-control worker", _WORKER)

_ALL: Final = (
    WORKER,
    Contender("worker-uvloop", "… with uvloop", _WORKER, {"event_loop": "uvloop"}),
    Contender(BASE, "FastStream", ("-m", f"{_PEERS}.faststream_peer")),
    Contender("aio-pika", "aio-pika", ("-m", f"{_PEERS}.aio_pika_peer")),
    Contender(
        "taskiq",
        "taskiq",
        (
            *("-m", "taskiq", "worker", f"{_PEERS}.taskiq_peer:broker"),
            *("--workers", "1", "--log-level", "WARNING"),
        ),
        encode=_for_taskiq,
        arguments=partial(_quorum_with_dead_letters, ".dead"),
        queues=(".dead",),
        exchanges=(".tasks",),
    ),
    Contender(
        "dramatiq",
        "Dramatiq",
        ("-m", "dramatiq", f"{_PEERS}.dramatiq_peer", "--processes", "1"),
        encode=_for_dramatiq,
        arguments=partial(_quorum_with_dead_letters, ".XQ"),
        queues=(".DQ", ".XQ"),
    ),
    Contender("limit-aiormq", "limit: aiormq", ("-m", f"{_PEERS}.limit_aiormq"), is_limit=True),
    Contender(
        "limit-redis",
        "limit: Redis, one by one",
        ("-m", f"{_PEERS}.limit_redis"),
        is_limit=True,
        consumes=False,
    ),
)


def contenders() -> tuple[Contender, ...]:
    """Return those whose settings this worker knows, and whose packages are installed."""
    return tuple(
        each
        for each in _ALL
        if each.settings.keys() <= Settings.model_fields.keys()
        and (each.settings.get("event_loop") != "uvloop" or find_spec("uvloop"))
    )


def contender_of(key: str) -> Contender:
    """Return the contender of this name, whether or not it can compete here."""
    return next(each for each in _ALL if each.key == key)
