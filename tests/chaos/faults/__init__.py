"""The faults, in the order in which they come alone."""

from typing import Final

from tests.chaos.faults import network, rabbitmq, redis, worker
from tests.chaos.target import Fault

FAULTS: Final[tuple[Fault, ...]] = (
    worker.killed,
    *worker.killed_at_steps,
    worker.killed_every_second,
    worker.paused,
    worker.rolling_restart,
    worker.clock_off,
    rabbitmq.restarted,
    rabbitmq.killed,
    rabbitmq.memory_alarm,
    rabbitmq.half_open,
    rabbitmq.partition_redeclared,
    rabbitmq.subscriber_full,
    redis.restarted,
    redis.killed,
    redis.paused,
    redis.slow,
    redis.replies_dropped,
    redis.scripts_flushed,
    redis.out_of_memory,
    redis.read_only,
    redis.dripping,
    network.cut,
    network.dripping,
)
