"""Calls in Redis: one hash per call, loaded and committed in batches."""

from worker.store.calls import CallStore, Change, StoredCall
from worker.store.codec import Record
from worker.store.connection import RedisClient, close, connect, drop_idle_connections
from worker.store.suspects import Suspects

__all__ = [
    "CallStore",
    "Change",
    "Record",
    "RedisClient",
    "StoredCall",
    "Suspects",
    "close",
    "connect",
    "drop_idle_connections",
]
