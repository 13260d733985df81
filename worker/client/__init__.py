"""The client for Python services: commands as methods, answers as values, events as a stream.

It speaks to RabbitMQ only, and needs neither Redis nor any of the worker's settings.
"""

from worker.client.control import CallControl, Options
from worker.client.errors import (
    Conflict,
    InvalidCommand,
    NetworkRefused,
    NetworkUnavailable,
    NoSuchCall,
    OutcomeUnknown,
    Refused,
    WorkerFailed,
)
from worker.client.event import Event
from worker.client.subscription import Since, Subscription
from worker.errors import BrokerUnavailable, CallControlError, ConfigurationError

__all__ = [
    "BrokerUnavailable",
    "CallControl",
    "CallControlError",
    "ConfigurationError",
    "Conflict",
    "Event",
    "InvalidCommand",
    "NetworkRefused",
    "NetworkUnavailable",
    "NoSuchCall",
    "Options",
    "OutcomeUnknown",
    "Refused",
    "Since",
    "Subscription",
    "WorkerFailed",
]
