"""Who consumes what, read at the broker: sharing, joining, dying, leaving."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from tests.harness import Installation, Worker
from worker.membership import ranking
from worker.settings import Settings

PARTITIONS = Settings.from_environment({}).partitions

#: The promise: seconds from a worker's joining or leaving until the partitions are shared anew.
SHARED_SECONDS = 2.0

#: The promise: seconds that a partition may be without a consumer while a standby lives.
GAP_SECONDS = 0.5

#: How long each change is watched.
SETTLING_SECONDS = 3.0


# Runs inside the broker, which alone knows at once who is active: the management interface shows
# it up to five seconds late. Prints a line per partition whenever anything has changed.
_RECORD = """
Prefix = <<"{prefix}">>, Size = byte_size(Prefix),
Stop = rabbit_misc:r(<<"/">>, queue, <<"{stop}">>),
Deadline = os:system_time(millisecond) + {milliseconds},
Read = fun() -> lists:sort([{{Number, proplists:get_value(consumer_tag, C)}} ||
    C <- rabbit_amqqueue:consumers_all(<<"/">>),
    proplists:get_value(activity_status, C) =:= single_active,
    {{resource, _, queue, <<P:Size/binary, Number/binary>>}} <-
        [proplists:get_value(queue_name, C)],
    P =:= Prefix]) end,
Loop = fun Loop(Before) ->
    At = os:system_time(millisecond), Now = Read(),
    case Now of
        Before -> ok;
        _ -> io:format("~b ~s~n", [At, lists:join(" ", [[N, "=", T] || {{N, T}} <- Now])])
    end,
    case rabbit_amqqueue:exists(Stop) orelse At > Deadline of
        true -> io:format("~b stop~n", [At]);
        false -> timer:sleep(20), Loop(Now)
    end end,
register({name}, self()),
Loop(none).
"""
_BEGUN = "whereis({name}) =/= undefined."

_RECORDER = "call_control_recorder"

#: How often it is asked for, at most; each takes about a second.
_MOST_LOOKS = 30

View = dict[int, str]


class Recording:
    """Who was the single active consumer of each partition, and when, as the broker saw it."""

    def __init__(self, text: str) -> None:
        self.views: list[tuple[float, View]] = []
        self.ended = 0.0
        for line in text.splitlines():
            at, _, rest = line.partition(" ")
            if not at.isdecimal():
                continue
            self.ended = int(at) / 1000
            if rest != "stop":
                pairs = (pair.split("=") for pair in rest.split())
                view = {int(number): tag.rpartition(".")[0] for number, tag in pairs}
                self.views.append((self.ended, view))

    def shared_after(self, what: str, start: float, end: float, workers: Iterable[Worker]) -> float:
        """Seconds from ``start`` until each partition is its owner's, and stays so to ``end``."""
        names = {worker.name for worker in workers}
        owners = {partition: ranking(names, partition, 1)[0] for partition in range(PARTITIONS)}
        since: float | None = None
        for at, view in self.views:
            if at > end:
                break
            if view != owners:
                since = None
            elif since is None:
                since = at
        assert since is not None, f"{what}: {self._difference(end, owners)}"
        return max(0.0, since - start)

    def _difference(self, end: float, owners: View) -> str:
        view = [view for at, view in self.views if at <= end][-1]
        wrong = {p: (view.get(p), owner) for p, owner in owners.items() if view.get(p) != owner}
        return f"not shared: partition: (consumer, owner) {wrong}"

    def longest_gap(self, start: float) -> float:
        """The longest time, in seconds, that any partition had no consumer after ``start``."""
        longest = 0.0
        vanished: dict[int, float] = {}
        for at, view in [*self.views, (self.ended, self.views[-1][1])]:
            for partition in range(PARTITIONS):
                if partition not in view and at > start:
                    vanished.setdefault(partition, at)
                longest = max(longest, at - vanished.get(partition, at))
                if partition in view:
                    vanished.pop(partition, None)
        return longest


@asynccontextmanager
async def recording(calls: Installation, seconds: float = 90) -> AsyncIterator[list[Recording]]:
    """Record the broker's view while the block runs; it is in the list afterwards."""
    rabbitmq = calls.services.rabbitmq
    assert rabbitmq is not None, "who consumes what is read by rabbitmqctl"
    stop = f"{calls.names.base}.recording-over"
    script = _RECORD.format(
        name=_RECORDER,
        prefix=f"{calls.names.commands}.",
        stop=stop,
        milliseconds=int(seconds * 1000),
    )
    task = asyncio.create_task(asyncio.to_thread(rabbitmq.ctl, "eval", script))
    begun = _BEGUN.format(name=_RECORDER)
    for _ in range(_MOST_LOOKS):
        if "true" in await asyncio.to_thread(rabbitmq.ctl, "eval", begun):
            break
    else:
        raise AssertionError("nobody records who consumes what")
    made: list[Recording] = []
    channel = await calls.connection.channel()
    yield made
    await channel.declare_queue(stop, exclusive=True)
    made.append(Recording(await task))


async def test_workers_share_the_partitions_within_two_seconds_and_leave_no_gap(
    wide: Installation,
) -> None:
    """One worker, then two, then four; then one is killed, and one is stopped cleanly."""
    await wide.start(1)
    turns: list[tuple[str, float, float, list[Worker]]] = []

    async def watch(what: str, living: list[Worker], since: float | None = None) -> None:
        started = since or time.time()
        await asyncio.sleep(SETTLING_SECONDS)
        turns.append((what, started, time.time(), list(living)))

    async with recording(wide) as made:
        await watch("one", wide.workers)
        await wide.start(1)
        await watch("one to two", wide.workers)
        await asyncio.gather(*[(await wide.spawn()).joined() for _ in range(2)])
        await watch("two to four", wide.workers)
        killed, stopped, *others = wide.workers
        await killed.kill()
        await watch("one killed", [stopped, *others])
        stopping = time.time()
        assert await stopped.terminate() == 0
        await watch("one stopped", others, since=stopping)
    view = made[0]

    took = {turn[0]: view.shared_after(*turn) for turn in turns}
    # A killed worker seems to live until its heartbeat lapses; until then its standbys serve.
    lapse = wide.settings.lapse_seconds
    assert all(took[what] <= SHARED_SECONDS for what in took if what != "one killed"), took
    assert took["one killed"] <= lapse + SHARED_SECONDS / 2, took
    assert view.longest_gap(turns[0][1]) <= GAP_SECONDS


async def test_a_standby_gets_the_commands_at_once_when_the_owner_dies(wide: Installation) -> None:
    """The broker turns to the next in line; nobody waits for the heartbeat to lapse."""
    await wide.start(3, lapse_seconds=60)
    await wide.subscribe()
    await wide.workers[0].kill()
    for command in [await wide.command(f"call-{n}", "hold") for n in range(100)]:
        await wide.answer(command)
    assert await wide.redis.zscore(wide.names.workers, wide.workers[0].name) is not None


async def test_the_load_is_spread_over_the_workers(wide: Installation) -> None:
    """With four workers, none has much more than its quarter of the partitions."""
    await wide.start(4)
    await asyncio.sleep(SETTLING_SECONDS)
    async with recording(wide) as made:
        await asyncio.sleep(SETTLING_SECONDS)
    shares = Counter(made[0].views[-1][1].values())
    assert len(shares) == 4
    assert max(shares.values()) <= 2 * PARTITIONS / 4
