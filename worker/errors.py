"""What can go wrong, named after what the caller has to do about it.

CallControlError
├── ConfigurationError      change a setting or the broker, then start again
│   ├── MayNotConfigure     RabbitMQ's user may not declare something
│   ├── TopologyMismatch    the broker has something else under a name of ours
│   └── PartitionMismatch   the partition count in force is another one
├── Unavailable             hold what you have, and try again
│   ├── StoreUnavailable    Redis
│   ├── StoreRegressed      Redis has lost calls: ``callctl rebuild`` restores them
│   ├── BrokerUnavailable   RabbitMQ
│   └── AsteriskUnavailable Asterisk
├── AsteriskRefused         answer the action with a failure; the rest goes on
└── CorruptCall             dead-letter the command; the rest goes on
"""

import traceback


class CallControlError(Exception):
    """The base of all errors raised on purpose."""


class ConfigurationError(CallControlError):
    """Raised when a worker cannot start as it is configured."""


class MayNotConfigure(ConfigurationError):
    """Raised when RabbitMQ refuses a declaration for lack of permission."""


class TopologyMismatch(ConfigurationError):
    """Raised when an exchange or a queue exists with another type or argument."""


class PartitionMismatch(ConfigurationError):
    """Raised when the recorded number of partitions is not the configured one."""


class Unavailable(CallControlError):
    """Raised when a service does not do its part at the moment."""


class StoreUnavailable(Unavailable):
    """Raised when Redis cannot be reached, or refuses to read or write for now."""


class StoreRegressed(Unavailable):
    """Raised when Redis has forgotten what it had confirmed.

    Nothing may be answered from it before somebody has mended it.
    """

    def __init__(self, why: str) -> None:
        super().__init__(
            f"Redis has lost calls: {why}; commands wait until `callctl rebuild` has restored them"
        )


class BrokerUnavailable(Unavailable):
    """Raised when RabbitMQ cannot be reached, or does not confirm in time."""


class AsteriskUnavailable(Unavailable):
    """Raised when Asterisk cannot be reached, or does not answer in time.

    Whether it did what it was asked is not known then.
    """


class AsteriskRefused(CallControlError):
    """Raised when Asterisk answers that it will not do something.

    Attributes:
        status: The status of its answer (HTTP).
    """

    def __init__(self, doing: str, status: int) -> None:
        super().__init__(f"Asterisk: {doing}: {status}")
        self.status = status


class CorruptCall(CallControlError):
    """Raised when what is stored under a call's key is not a call."""


def place(error: BaseException) -> str:
    """Return where an error was raised, as ``file:line``; its text may quote what it met."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{where.filename}:{where.lineno}"
