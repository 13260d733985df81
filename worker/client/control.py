"""The client: a method for each command, and events."""

import logging
import secrets
from collections.abc import Iterable, Mapping
from typing import Any, Final, Self, TypedDict, Unpack

from pydantic import TypeAdapter
from pydantic_core import to_json

from schemas.commands import Command, command_fields
from schemas.contract import CommandName, EventName
from schemas.events import stable_id
from schemas.fields import RequestId
from schemas.reports import Report
from schemas.wire import Malformed, read
from worker.client.errors import InvalidCommand, raise_if_refused
from worker.client.event import Event
from worker.client.link import Link
from worker.client.requests import Request, Requests
from worker.client.subscription import Filter, Since, Subscription
from worker.names import Names
from worker.tracing import outgoing_headers
from worker.urls import check_credentials

_BAD_REQUEST: Final = 400

#: The longest expiration that RabbitMQ takes, in seconds.
_MOST_EXPIRES_SECONDS: Final = (2**32 - 1) / 1000

#: At level debug it logs all that is sent, digits included.
_FRAMES: Final = "aiormq.connection"

_REQUEST_ID: Final = TypeAdapter(RequestId)


class Options(TypedDict, total=False):
    """What every command may be given besides its fields.

    Attributes:
        message_id: Its idempotency key; made up, unless it is given. A command with the same one
            has the same outcome, and is done once.
        timeout: How long its answer is waited for, in seconds.
        expires: After how many seconds it is to be dropped, and becomes a dead letter, if no
            worker has taken it: for what would come too late.
    """

    message_id: str
    timeout: float
    expires: float


class CallControl:
    """Sends commands and follows events: ``async with CallControl("amqp://…") as calls``.

    Every command's method returns the event that answers it, and raises ``Refused`` (of which
    there is a class for each kind of reason) or ``OutcomeUnknown`` where there is no answer in
    time. Commands may be under way at the same time; those of one call are published in the order
    in which their methods were called. While RabbitMQ is away they are published again, with the
    same ``message_id``, until their time is over.

    Args:
        url: RabbitMQ: ``amqp://`` or ``amqps://``, several hosts separated by commas, with the
            virtual host as its path. TLS takes ``?cafile=…&certfile=…&keyfile=…``.
        namespace: The installation's namespace (``CALL_CONTROL_NAMESPACE`` of its workers).
        timeout: How long an answer is waited for, in seconds.
        name: What RabbitMQ shows as the connections' name.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "",
        timeout: float = 10.0,
        name: str = "call-control-client",
    ) -> None:
        check_credentials(url)
        logging.getLogger(_FRAMES).addFilter(_is_no_frame)
        self._names = Names(namespace)
        self._timeout = timeout
        # RabbitMQ stops reading from a connection that publishes while it is short of memory;
        # what a subscriber acknowledges on it would wait too.
        self._publishing = Link(url, name)
        self._consuming = Link(url, f"{name} events")
        self._requests = Requests(self._publishing, self._names.commands)

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            BrokerUnavailable: RabbitMQ cannot be reached, or refuses.
            ConfigurationError: The URL is not one of RabbitMQ's.
        """
        await self._publishing.open()
        try:
            await self._requests.open()
        except BaseException:
            await self._publishing.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._publishing.close()
        finally:
            await self._consuming.close()

    async def call(
        self,
        origin: str,
        destination: str,
        request_id: str | None = None,
        **options: Unpack[Options],
    ) -> Event:
        """Place a call. Its ``request_id`` is made up if none is given, and stands in the event."""
        # The same message_id is the same call, also where no name is given.
        message_id = options.setdefault("message_id", secrets.token_hex(16))
        name = stable_id(message_id)[:16] if request_id is None else request_id
        fields = {"origin": origin, "destination": destination}
        return await self._command(CommandName.CALL, name, fields, options)

    async def disconnect(self, request_id: str, **options: Unpack[Options]) -> Event:
        """End a call, in whatever state it is."""
        return await self._command(CommandName.DISCONNECT, request_id, {}, options)

    async def transfer(self, request_id: str, endpoint: str, **options: Unpack[Options]) -> Event:
        """Give a call a new destination; on an offered call the same as ``redirect``."""
        fields = {"endpoint": endpoint}
        return await self._command(CommandName.TRANSFER, request_id, fields, options)

    async def redirect(self, request_id: str, endpoint: str, **options: Unpack[Options]) -> Event:
        """Change the destination of an incoming call that has not been accepted."""
        fields = {"endpoint": endpoint}
        return await self._command(CommandName.REDIRECT, request_id, fields, options)

    async def hold(self, request_id: str, **options: Unpack[Options]) -> Event:
        """Place a connected call on hold."""
        return await self._command(CommandName.HOLD, request_id, {}, options)

    async def retrieve(self, request_id: str, **options: Unpack[Options]) -> Event:
        """Take a call back from hold."""
        return await self._command(CommandName.RETRIEVE, request_id, {}, options)

    async def dial(self, request_id: str, digits: str, **options: Unpack[Options]) -> Event:
        """Send DTMF digits into a connected call."""
        return await self._command(CommandName.DIAL, request_id, {"digits": digits}, options)

    async def mute(self, request_id: str, **options: Unpack[Options]) -> Event:
        """Mute a connected call."""
        return await self._command(CommandName.MUTE, request_id, {}, options)

    async def un_mute(self, request_id: str, **options: Unpack[Options]) -> Event:
        """Undo ``mute``."""
        return await self._command(CommandName.UN_MUTE, request_id, {}, options)

    async def accept(self, request_id: str, endpoint: str, **options: Unpack[Options]) -> Event:
        """Accept an incoming call from the endpoint that offers it."""
        fields = {"endpoint": endpoint}
        return await self._command(CommandName.ACCEPT, request_id, fields, options)

    async def reject(self, request_id: str, endpoint: str, **options: Unpack[Options]) -> Event:
        """Reject an incoming call from the endpoint that offers it."""
        fields = {"endpoint": endpoint}
        return await self._command(CommandName.REJECT, request_id, fields, options)

    async def _command(
        self, name: CommandName, request_id: str, fields: Mapping[str, str], options: Options
    ) -> Event:
        body = {"call_control": name.value, "request_id": request_id, **fields}
        return await self.ask(body, **options)

    async def ask(self, message: Command | Mapping[str, Any], **options: Unpack[Options]) -> Event:
        """Send a command, whatever it is, and return the event that answers it.

        Args:
            message: The command, or a body as the contract describes it.
            options: ``message_id``, ``timeout`` and ``expires``.

        Raises:
            Refused: The answer is not a success.
            OutcomeUnknown: There was no answer in time.
            ConfigurationError: There is no command exchange, or no queue behind it.
        """
        timeout = options.get("timeout", self._timeout)
        request = _request(message, options, commands_only=True)
        return raise_if_refused(await self._requests.ask(request, timeout))

    async def publish(
        self, message: Command | Report | Mapping[str, Any], **options: Unpack[Options]
    ) -> str:
        """Publish a command or a network report; return its ``message_id`` once RabbitMQ has it.

        Raises:
            OutcomeUnknown: RabbitMQ has not confirmed it in time.
            ConfigurationError: There is no command exchange, or no queue behind it.
        """
        request = _request(message, options)
        await self._requests.publish(request, options.get("timeout", self._timeout))
        return request.message_id

    def events(
        self,
        request_id: str | None = None,
        kinds: Iterable[EventName | str] = (),
        *,
        since: Since | None = None,
        follow: bool = True,
    ) -> Subscription:
        """Follow the events of a call, of some kinds, or all: ``async for event in …``.

        Args:
            request_id: The call.
            kinds: Canonical events, such as ``call_held``.
            since: Where in the journal to begin: an offset, a time (by the workers' clocks; local
                without a zone), or ``first`` for all that it has; None for what happens from now
                on. To go on where another run stopped, give the ``offset`` of its last event plus
                1.
            follow: Whether to go on at the end of the journal, or to stop there.

        Raises:
            ValueError: There is no such kind, ``request_id`` or place, or nothing to begin with
                and nothing to follow.
        """
        if since is None and not follow:
            raise ValueError("what does not follow needs a place to begin: since=")
        if request_id is not None:
            _REQUEST_ID.validate_python(request_id)
        wanted = Filter(request_id, frozenset(EventName(kind) for kind in kinds))
        return Subscription(self._consuming, self._names, wanted, since, follow=follow)


def _is_no_frame(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG


def _request(
    message: Command | Report | Mapping[str, Any], options: Options, *, commands_only: bool = False
) -> Request:
    if isinstance(message, Command):
        fields: Mapping[str, Any] = command_fields(message)
    elif isinstance(message, Mapping):
        fields = message
    else:
        fields = message.model_dump(mode="json", exclude_none=True)
    body = to_json(fields)
    reading = read(body).body
    if commands_only and isinstance(reading, Report):
        reading = Malformed("call_control", "missing", reading.request_id)
    expires = options.get("expires")
    if expires is not None and not 0 <= expires <= _MOST_EXPIRES_SECONDS:
        reading = Malformed("expires", f"expected 0 to {_MOST_EXPIRES_SECONDS:.0f} seconds")
    if isinstance(reading, Malformed):
        raise InvalidCommand(_BAD_REQUEST, reading.reason, reading.request_id)
    return Request(
        reading.request_id,
        body,
        options.get("message_id") or secrets.token_hex(16),
        expires_seconds=expires,
        headers=outgoing_headers(),
    )
