"""The topology as data: what there is at RabbitMQ, before anything is declared."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.broker.topology import (
    Arguments,
    Binding,
    Exchange,
    Queue,
    Topology,
    topology,
    topology_of,
)
from worker.names import Names, is_ours
from worker.settings import PREFIX, Settings

#: What may stand in CALL_CONTROL_NAMESPACE.
NAMESPACE = r"[A-Za-z0-9_\-]{0,64}"

#: Such as would be keys themselves, and any others.
REQUEST_IDS = st.from_regex(r"([a-z]\.)?call_control[.:]([a-z]{1,3}|workers)", fullmatch=True) | (
    st.from_regex(r"[\x20-\x7e]{1,128}", fullmatch=True)
)

WHOLE = topology(Names(), 64)


def with_a_gateway(namespace: str) -> Topology:
    """Everything that an installation may have."""
    values = {f"{PREFIX}PARTITIONS": "4", f"{PREFIX}NAMESPACE": namespace}
    return topology_of(Settings.from_environment(values), ["pbx-1"])


@pytest.mark.parametrize("count", [1, 8, 64, 100, 1024])
def test_there_are_as_many_partitions_as_are_set(count: int) -> None:
    """Each a queue of its own, bound once."""
    names = Names()
    made = topology(names, count)
    partitions = {names.partition(number) for number in range(count)}
    queues = [queue.name for queue in made.queues]
    bound = [binding.destination for binding in made.bindings if binding.exchange == names.commands]
    assert len(partitions) == count
    assert {name for name in queues if name.startswith(f"{names.commands}.")} == partitions
    assert len(queues) == len(set(queues)) == count + 2
    assert sorted(bound) == sorted(partitions)


def test_the_exchanges_are_the_contracts() -> None:
    """Producers and subscribers know these names."""
    assert WHOLE.exchanges == (
        Exchange("call_control.dead_letters", "fanout"),
        Exchange("call_control.events", "topic"),
        Exchange("call_control.commands", "x-modulus-hash"),
    )


def test_a_partition_keeps_order_and_loses_nothing() -> None:
    """The arguments that the promises rest on, and nothing that would let a command expire."""
    partitions = [q for q in WHOLE.queues if q.name.startswith("call_control.commands.")]
    for queue in partitions:
        assert queue.arguments == {
            "x-queue-type": "quorum",
            "x-single-active-consumer": True,
            "x-delivery-limit": 1000,
            "x-dead-letter-exchange": "call_control.dead_letters",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-max-length": 100_000,
            "x-max-length-bytes": 268_435_456,
            "x-consumer-disconnected-timeout": 5_000,
        }
    assert len(partitions) == 64


def test_every_event_goes_into_the_journal() -> None:
    """Then no event is unroutable, and each can be read again for a while."""
    assert Binding("call_control.events", "call_control.events.journal", "#") in WHOLE.bindings
    (journal,) = [q for q in WHOLE.queues if q.name == "call_control.events.journal"]
    assert journal.arguments["x-queue-type"] == "stream"
    assert journal.arguments["x-max-age"] == "7D"
    assert journal.arguments["x-max-length-bytes"] == 8 * 1024**3
    assert journal.arguments["x-stream-max-segment-size-bytes"] == 16 * 1024**2


def test_dead_letters_are_kept() -> None:
    """In a queue that survives a node, with no limit that would drop one, however often seen."""
    arguments: Arguments = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000}
    assert Queue("call_control.dead_letters", arguments) in WHOLE.queues
    assert Binding("call_control.dead_letters", "call_control.dead_letters", "") in WHOLE.bindings


def test_all_partitions_weigh_the_same() -> None:
    """To a consistent-hash exchange the key is a weight; the other kind does not read it."""
    weights = {
        binding.routing_key
        for binding in WHOLE.bindings
        if binding.exchange == "call_control.commands"
    }
    assert weights == {"1"}


def test_nothing_is_bound_to_what_is_not_there() -> None:
    """Every binding joins an exchange and a queue of the same topology."""
    wanted = with_a_gateway("")
    exchanges = {exchange.name for exchange in wanted.exchanges}
    queues = {queue.name for queue in wanted.queues}
    for binding in wanted.bindings:
        assert binding.exchange in exchanges
        assert binding.destination in (exchanges if binding.to_exchange else queues)
    assert {each.destination for each in wanted.bindings if not each.to_exchange} == queues


def test_what_no_gateway_takes_becomes_a_command_again() -> None:
    """From wherever it is: an exchange without a queue, a gateway's queue, a deadline's."""
    wanted = with_a_gateway("")
    for exchange in wanted.exchanges:
        if exchange.name.startswith("call_control.actions"):
            assert exchange.arguments == {"alternate-exchange": "call_control.commands"}
    waiting = [q for q in wanted.queues if ".gateways." in q.name or ".deadlines." in q.name]
    assert len(waiting) == 3
    for queue in waiting:
        assert queue.arguments["x-dead-letter-exchange"] == "call_control.commands"
        assert queue.arguments["x-dead-letter-strategy"] == "at-least-once"
        assert "x-dead-letter-routing-key" not in queue.arguments


def test_a_network_is_declared_only_where_there_is_one() -> None:
    """The loopback needs nothing at RabbitMQ."""
    external = topology_of(Settings.from_environment({f"{PREFIX}GATEWAY": "external"}))
    assert topology_of(Settings.from_environment({})) == WHOLE
    assert len(external.queues) == len(WHOLE.queues) + 2


def test_a_namespace_stands_before_every_name() -> None:
    """Two installations can share a broker and a Redis, and neither touches the other."""
    blue = with_a_gateway("blue")
    found = [
        *(queue.name for queue in blue.queues),
        *(exchange.name for exchange in blue.exchanges),
        *(binding.destination for binding in blue.bindings),
        *(binding.exchange for binding in blue.bindings),
        *(str(queue.arguments.get("x-dead-letter-exchange", "blue.")) for queue in blue.queues),
        *(str(each.arguments.get("alternate-exchange", "blue.")) for each in blue.exchanges),
    ]
    assert all(name.startswith("blue.") for name in found)
    plain = with_a_gateway("")
    assert [f"blue.{queue.name}" for queue in plain.queues] == [q.name for q in blue.queues]
    assert [f"blue.{e.name}" for e in plain.exchanges] == [e.name for e in blue.exchanges]


def test_a_namespace_stands_before_every_key() -> None:
    """In Redis as at RabbitMQ."""
    blue, plain = Names("blue"), Names()
    for name in ("call_prefix", "workers", "partition_count"):
        assert getattr(blue, name) == f"blue.{getattr(plain, name)}"
    assert len({plain.call_prefix, plain.workers, plain.partition_count}) == 3


def test_no_call_can_be_named_like_another_key() -> None:
    """A ``request_id`` is a producer's to choose; ``:`` keeps it out of the way."""
    names = Names()
    for key in (names.workers, names.partition_count):
        assert not key.startswith(names.call_prefix)


@given(namespace=st.from_regex(NAMESPACE, fullmatch=True))
def test_the_names_of_any_installation_are_known_as_ours(namespace: str) -> None:
    """Every queue and exchange, in whatever namespace."""
    wanted = with_a_gateway(namespace)
    names = [queue.name for queue in wanted.queues]
    names += [exchange.name for exchange in wanted.exchanges]
    assert all(map(is_ours, names))


@pytest.mark.parametrize(
    "name", ["", "answers", "call_controlled", "my-call_control", "amq.gen-x", "call-control"]
)
def test_other_names_are_not_ours(name: str) -> None:
    """A word is not a part of a word."""
    assert not is_ours(name)


@given(
    one=st.from_regex(NAMESPACE, fullmatch=True),
    other=st.from_regex(NAMESPACE, fullmatch=True),
    calls=st.tuples(REQUEST_IDS, REQUEST_IDS),
)
@example(one="", other="a", calls=("x", "a.call_control:x"))
@example(one="", other="", calls=("call_control.workers", "{call_control}.partitions"))
def test_no_request_id_leads_to_another_key(one: str, other: str, calls: tuple[str, str]) -> None:
    """Not to another call's, nor to one of another namespace, nor to a key that is no call's."""
    names, theirs = Names(one), Names(other)
    keys = {(n.namespace, id_): n.call_prefix + id_ for n in (names, theirs) for id_ in calls}
    assert len(set(keys.values())) == len(keys)
    fixed = {n.workers for n in (names, theirs)} | {n.partition_count for n in (names, theirs)}
    assert fixed.isdisjoint(keys.values())


def test_the_journal_is_as_large_as_the_settings_say() -> None:
    """All that installations differ in comes from their settings."""
    given = {"NAMESPACE": "blue", "PARTITIONS": "4", "JOURNAL_BYTES": str(2 * 1024**3)}
    settings = Settings.from_environment({PREFIX + name: value for name, value in given.items()})
    made = topology_of(settings)
    (journal,) = (queue for queue in made.queues if queue.name == Names("blue").journal)
    assert journal.arguments["x-max-length-bytes"] == 2 * 1024**3
    assert made == topology(Names("blue"), 4, journal_bytes=2 * 1024**3)
