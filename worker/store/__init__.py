"""Calls in Redis: one hash per call, loaded and committed in batches."""

from worker.store.calls import CallStore, Change, StoredCall
from worker.store.codec import Record
from worker.store.connection import close, connect
from worker.store.listing import Listed, every_call
from worker.store.memory import Memory
from worker.store.servers import RedisClient, Servers, reconnect
from worker.store.suspects import Suspects

__all__ = [
    "CallStore",
    "Change",
    "Listed",
    "Memory",
    "Record",
    "RedisClient",
    "Servers",
    "StoredCall",
    "Suspects",
    "close",
    "connect",
    "every_call",
    "reconnect",
]
