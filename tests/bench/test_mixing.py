"""What the contenders are given."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import islice, pairwise

from pydantic import TypeAdapter

from schemas.wire import read
from tests.bench.commands import CONVERSATIONS, Sent, mixed, of_live_calls, shares
from tests.bench.peers.job import Command

SOME = list(islice(mixed(7), 20_000))


def by_call(commands: Iterable[Sent]) -> dict[str, list[Sent]]:
    """The commands of each call."""
    found = defaultdict(list)
    for command in commands:
        found[command.request_id].append(command)
    return dict(found)


def test_the_commands_of_each_call_come_in_their_order() -> None:
    """However they are mixed with others'."""
    known = [[fields["call_control"] for fields in each] for each in CONVERSATIONS]
    for commands in by_call(SOME).values():
        names = [command.fields["call_control"] for command in commands]
        assert any(each[: len(names)] == names for each in known)


def test_conversations_are_mixed_with_each_other_and_not_one_after_the_other() -> None:
    """A worker that decides neighbours together would find few neighbours of one call."""
    assert sum(a.request_id == b.request_id for a, b in pairwise(SOME)) < len(SOME) / 100
    ended = sum(each.fields["call_control"] == "disconnect" for each in SOME)
    assert 800 < len(by_call(SOME)) - ended <= 1000


def test_every_contender_gets_the_same_and_every_seed_something_else() -> None:
    """Else the figures would compare commands, not contenders."""
    again = list(islice(mixed(7), 20_000))
    assert again == SOME
    assert list(islice(mixed(8), 20_000)) != SOME


def test_no_two_commands_have_the_same_id() -> None:
    """The worker would answer the second from the record of the first."""
    assert len({command.id for command in SOME}) == len(SOME)


def test_conversations_have_eight_commands_on_average() -> None:
    """As the memory of a finished call is measured by one of eight."""
    assert sum(map(len, CONVERSATIONS)) == 8 * len(CONVERSATIONS)
    assert len(CONVERSATIONS[0]) == 8


def test_the_worker_and_the_peers_read_each_command() -> None:
    """None of them would be fast at refusing what it cannot read."""
    adapter = TypeAdapter(Command)
    for command in SOME[:2000]:
        adapter.validate_json(command.body)
        assert not hasattr(read(command.body).body, "problem")


def test_publishers_share_calls_and_each_call_stays_in_order() -> None:
    """Two connections would not keep the order between them."""
    dealt = shares(SOME, 4)
    assert sorted(command.id for share in dealt for command in share) == sorted(
        command.id for command in SOME
    )
    calls = [by_call(share) for share in dealt]
    assert not set(calls[0]) & set(calls[1]) & set(calls[2]) & set(calls[3])
    whole = by_call(SOME)
    assert all(of_call == whole[name] for share in calls for name, of_call in share.items())
    assert max(map(len, dealt)) < len(SOME) / 4 * 1.2


def test_live_calls_come_round_so_that_none_comes_twice_in_a_batch() -> None:
    """Between two commands of one call, every other call has one."""
    names = [f"call-{number}" for number in range(50)]
    commands = list(islice(of_live_calls(1, names), 250))
    for start in range(0, 250, 50):
        assert {each.request_id for each in commands[start : start + 50]} == set(names)
    assert len({each.id for each in commands}) == 250
    assert not {each.id for each in islice(of_live_calls(2, names), 250)} & {
        each.id for each in commands
    }
