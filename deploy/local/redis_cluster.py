"""A Redis Cluster on this machine: three primaries with a replica each."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from deploy.local.errors import ServerFailedError
from deploy.local.process import free_port
from deploy.local.redis import RedisProcess, asked, wait_agreed
from deploy.local.runtime import Runtime

#: Slots of a cluster (Redis documentation, "Cluster specification").
SLOTS = 16_384

_PRIMARIES = 3

#: Silence after which a node is taken for dead, in milliseconds; servers that share a small machine
#: are often silent for a second.
_NODE_TIMEOUT_MS = 2_000

#: Keys that are moved at a time, and times that a slot is looked through.
_KEYS = 100
_ROUNDS = 1_000

#: Milliseconds that moving some keys may take.
_MIGRATE_MS = 5_000


class RedisCluster:
    """Three primaries with a replica each.

    Args:
        runtime: Where the program comes from.
        directory: Where their configuration and data are; made here.

    Attributes:
        nodes: The handles (``services.Server``) of all, those that begin as primaries first.
    """

    def __init__(self, runtime: Runtime, directory: Path) -> None:
        self._buses: dict[int, int] = {}
        self.nodes = [self._node(runtime, directory / f"node-{n}") for n in range(2 * _PRIMARIES)]

    def _node(self, runtime: Runtime, directory: Path) -> RedisProcess:
        bus = free_port()
        node = RedisProcess(
            runtime,
            directory,
            *("--cluster-enabled", "yes"),
            *("--cluster-node-timeout", str(_NODE_TIMEOUT_MS)),
            *("--cluster-port", str(bus)),
        )
        self._buses[node.port] = bus
        return node

    @property
    def url(self) -> str:
        """The address for clients."""
        hosts = ",".join(f"127.0.0.1:{each.port}" for each in self.nodes)
        return f"redis+cluster://{hosts}"

    def start(self) -> None:
        """Start the nodes, form the cluster, and wait until it serves.

        Raises:
            ServerFailedError: it did not form.
        """
        for node in self.nodes:
            node.begin()
        for node in self.nodes:
            node.wait()
        primaries, replicas = self.nodes[:_PRIMARIES], self.nodes[_PRIMARIES:]
        first, *others = self.nodes
        for number, node in enumerate(primaries):
            slots = range(SLOTS)[SLOTS * number // _PRIMARIES : SLOTS * (number + 1) // _PRIMARIES]
            asked(node.port, "CLUSTER", "ADDSLOTSRANGE", slots[0], slots[-1])
            # So that they need not find out first whose claim counts.
            asked(node.port, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in others:
            asked(*(first.port, "CLUSTER", "MEET", "127.0.0.1"), node.port, self._buses[node.port])
        wait_agreed(self._acquainted, "the nodes do not meet", first)
        for primary, replica in zip(primaries, replicas, strict=True):
            asked(replica.port, "CLUSTER", "REPLICATE", _identity(primary))
        wait_agreed(self._whole, "the cluster does not form", first)

    def discard(self) -> None:
        """End everything at once, data no longer wanted."""
        for node in self.nodes:
            node.kill()

    def primary_of(self, key: str) -> RedisProcess:
        """Return the node that serves a key's slot at the moment.

        Raises:
            ServerFailedError: no running node does.
        """
        return self._primary_of_slot(self.slot(key))

    def slot(self, key: str) -> int:
        """Return a key's slot."""
        return int(asked(self._running()[0].port, "CLUSTER", "KEYSLOT", key))

    def wait_taken_over(self, former: RedisProcess, slot: int) -> RedisProcess:
        """Return the replica that serves a slot instead of a primary that died.

        Raises:
            ServerFailedError: none took over.
        """

        def taken_over() -> bool:
            states = [asked(each.port, "CLUSTER", "INFO") for each in self._running()]
            serving = [each for each in self._serving(slot) if each is not former]
            return bool(serving) and all(b"cluster_state:ok" in each for each in states)

        wait_agreed(taken_over, "no replica took over", self._running()[0])
        return self._primary_of_slot(slot)

    def wait_whole(self) -> None:
        """Wait until every node runs, and every primary has its replicas in step again.

        Raises:
            ServerFailedError: they are not.
        """
        wait_agreed(self._whole, "the cluster does not become whole", self.nodes[0])

    @contextlib.contextmanager
    def moving(self, slot: int) -> Iterator[tuple[RedisProcess, RedisProcess]]:
        """Move a slot with all its keys to another primary, while clients use it.

        Yields the node that had it and the one that gets it, between two steps: the keys have
        moved, and the slot has not. Whoever asks the former owner is sent on with ASK.

        Raises:
            ServerFailedError: there was no end to its keys.
        """
        source = self._primary_of_slot(slot)
        primaries = [each for each in self._running() if asked(each.port, "ROLE")[0] == b"master"]
        target = next(each for each in primaries if each is not source)
        asked(target.port, "CLUSTER", "SETSLOT", slot, "IMPORTING", _identity(source))
        asked(source.port, "CLUSTER", "SETSLOT", slot, "MIGRATING", _identity(target))
        for _ in range(_ROUNDS):
            keys = asked(source.port, "CLUSTER", "GETKEYSINSLOT", slot, _KEYS)
            if not keys:
                break
            address = ("127.0.0.1", target.port, "", 0, _MIGRATE_MS)
            asked(source.port, "MIGRATE", *address, "KEYS", *keys)
        else:
            raise ServerFailedError(f"slot {slot} does not become empty\n{source.log()}")
        yield source, target
        # The target first: if the source went first and died, nobody would have the slot.
        for node in (target, source, *primaries):
            asked(node.port, "CLUSTER", "SETSLOT", slot, "NODE", _identity(target))

    def _running(self) -> list[RedisProcess]:
        return [each for each in self.nodes if each.running]

    def _primary_of_slot(self, slot: int) -> RedisProcess:
        for node in self._serving(slot):
            return node
        raise ServerFailedError(f"nobody serves slot {slot}\n{self.nodes[0].log()}")

    def _serving(self, slot: int) -> list[RedisProcess]:
        """Return the running nodes that say of themselves that they serve a slot."""
        return [
            node
            for node in self._running()
            if any(
                first <= slot <= last and int(served_by[1]) == node.port
                for first, last, served_by, *_ in asked(node.port, "CLUSTER", "SLOTS")
            )
        ]

    def _acquainted(self) -> bool:
        return all(
            b"cluster_known_nodes:%d\r" % len(self.nodes) in asked(each.port, "CLUSTER", "INFO")
            for each in self.nodes
        )

    def _whole(self) -> bool:
        roles = [asked(each.port, "ROLE") for each in self.nodes]
        infos = [asked(each.port, "CLUSTER", "INFO") for each in self.nodes]
        in_step = [role for role in roles if role[0] == b"slave" and role[3] == b"connected"]
        return len(in_step) == len(self.nodes) - _PRIMARIES and all(
            b"cluster_state:ok" in info for info in infos
        )


def _identity(node: RedisProcess) -> bytes:
    identity: bytes = asked(node.port, "CLUSTER", "MYID")
    return identity
