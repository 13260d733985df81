"""What the kernel says of processes."""

import os
import socket
import subprocess
import sys
import time

from tests.bench.processes import cpu_seconds, family, listener, memory


def test_cpu_time_counts_work_and_not_waiting() -> None:
    """By the clock of the process itself, to two ticks of the kernel's."""
    before, own = cpu_seconds([os.getpid()]), time.process_time()
    while time.process_time() < own + 0.2:
        pass
    assert abs(cpu_seconds([os.getpid()]) - before - (time.process_time() - own)) <= 0.03


def test_a_family_has_the_children_of_children() -> None:
    """A framework's command line runs its workers in processes of their own."""
    inner = "import sys; print('up', flush=True); sys.stdin.read()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = family(process.pid)
        process.communicate()
    assert len(found) == 2
    assert found[0] == process.pid


def test_memory_is_that_of_the_largest_process_and_none_of_one_that_is_gone() -> None:
    """Its peak is no less than what it has."""
    found = memory([os.getpid(), 2**22 - 1])
    assert 10 * 2**20 < found.now <= found.peak


def test_who_listens_on_a_port_is_found() -> None:
    """So are RabbitMQ and Redis, whoever started them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listener(port) == [os.getpid()]
    assert listener(port) == []
