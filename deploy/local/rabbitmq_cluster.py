"""RabbitMQ nodes on this machine that form a cluster."""

import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from deploy.local.epmd import Epmd
from deploy.local.errors import ServerFailedError
from deploy.local.process import wait_until
from deploy.local.rabbitmq import CONFIG, RabbitMQProcess
from deploy.local.runtime import Runtime

_FORMATION = """
cluster_formation.peer_discovery_backend = classic_config
{nodes}
"""

#: Seconds until all nodes know each other, once they run.
_FORMING_TIMEOUT = 30.0

#: Seconds until two sides of a cut have lost each other.
_CUT_TIMEOUT = 30.0

# The cookie that a node keeps for a peer is what connections with it are let in by, in both
# directions: another one than the peer's keeps them apart while both run on.
_CUT = "[begin erlang:set_cookie(N, '{cookie}'), erlang:disconnect_node(N) end || N <- [{peers}]]."
_HEAL = "[begin erlang:set_cookie(N, erlang:get_cookie()), net_adm:ping(N) end || N <- [{peers}]]."

#: Prints true once the node that is asked sees all, and all serve.
_WHOLE = "lists:all(fun(N) -> rpc:call(N, rabbit, is_running, []) =:= true end, [{peers}])."


class RabbitMQCluster:
    """Nodes that share everything, and can be killed, restarted and kept apart.

    Args:
        runtime: Where the programs come from.
        directory: Where their configuration and data are; made here.
        size: The number of nodes.

    Attributes:
        nodes: Their handles (``services.Broker``), each with its ``url``.
    """

    def __init__(self, runtime: Runtime, directory: Path, size: int) -> None:
        names = [f"node{number}@localhost" for number in range(1, size + 1)]
        config = (CONFIG / "cluster.conf").read_text() + _FORMATION.format(
            nodes="\n".join(
                f"cluster_formation.classic_config.nodes.{number} = {name}"
                for number, name in enumerate(names, 1)
            )
        )
        self._epmd = Epmd(runtime, directory / "epmd")
        cookie = secrets.token_hex(16)
        self.nodes = [
            RabbitMQProcess(
                runtime,
                directory / name.partition("@")[0],
                node=name,
                epmd=self._epmd,
                cookie=cookie,
                config=config,
            )
            for name in names
        ]
        self._minority: RabbitMQProcess | None = None

    @property
    def url(self) -> str:
        """The address of all nodes, for clients that take a list."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"amqp://guest:guest@{hosts}/"

    def start(self) -> None:
        """Start the nodes that do not run, and wait until all know each other.

        Raises:
            ServerFailedError: one did not start, or they did not form a cluster.
        """
        self._epmd.start()
        for node in self.nodes:
            node.begin()
        self._wait_whole()

    def discard(self) -> None:
        """End everything at once, data no longer wanted."""
        for node in self.nodes:
            node.discard()
        self._epmd.discard()

    def leaders(self) -> dict[str, RabbitMQProcess]:
        """Return the node that leads each queue, as the running majority has it.

        Queues that have no leader at the moment are left out.
        """
        by_name = {node.node: node for node in self.nodes}
        asked = next(each for each in self.nodes if each.running and each is not self._minority)
        lines = asked.ctl("list_queues", "name", "leader").splitlines()
        pairs = [line.split("\t") for line in lines]
        return {pair[0]: by_name[pair[1]] for pair in pairs if pair[-1] in by_name}

    def seen_by(self, node: RabbitMQProcess) -> set[str]:
        """Return the names of the peers that a node is connected with."""
        return set(re.findall(r"node\d+@localhost", node.ctl("eval", "nodes().")))

    def cut_off(self, node: RabbitMQProcess) -> None:
        """Keep a node from all others, and them from it, without stopping any.

        Clients reach both sides. One that was cut off before is healed first.

        Raises:
            ServerFailedError: the sides still see each other.
        """
        self.heal()
        self._minority = node
        peers = _atoms(self._others(node))
        node.ctl("eval", _CUT.format(cookie=secrets.token_hex(8), peers=peers))
        if not wait_until(lambda: not self.seen_by(node), _CUT_TIMEOUT):
            raise ServerFailedError(f"{node.node} is not cut off\n{node.log()}")

    def heal(self) -> None:
        """Undo ``cut_off`` and wait until all nodes serve again; does nothing without a cut.

        Raises:
            ServerFailedError: they did not find each other.
        """
        node, self._minority = self._minority, None
        if node is None:
            return
        if node.running:
            node.ctl("eval", _HEAL.format(peers=_atoms(self._others(node))))
        self._wait_whole()

    def restart_one_by_one(self) -> None:
        """Restart every node, each once all those before it serve again."""
        for node in self.nodes:
            node.restart()
            self._wait_whole()

    def _others(self, node: RabbitMQProcess) -> list[RabbitMQProcess]:
        return [each for each in self.nodes if each is not node]

    def _wait_whole(self) -> None:
        # First what costs nothing to ask.
        for node in self.nodes:
            node.wait()
        first = self.nodes[0]
        whole = _WHOLE.format(peers=_atoms(self.nodes))
        if not wait_until(lambda: "true" in first.ctl("eval", whole), _FORMING_TIMEOUT):
            raise ServerFailedError(f"the nodes form no cluster\n{first.log()}")
        for node in self.nodes:
            node.wait()


def _atoms(nodes: Iterable[RabbitMQProcess]) -> str:
    return ",".join(f"'{node.node}'" for node in nodes)
