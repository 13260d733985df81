"""Stops and removes what was made here."""

import shutil
from pathlib import Path

from deploy.local import docker, network
from deploy.local.errors import ServicesError
from deploy.local.services import Progress
from deploy.local.session import CACHE, left_behind, sessions, stop_processes, uninterrupted


def sweep() -> None:
    """Stop the servers of processes that were killed before they could do it."""
    for directory in sessions():
        if left_behind(directory):
            _discard(directory)


def clean(progress: Progress) -> None:
    """Stop our processes by their recorded pids, remove our containers and ``.cache``.

    Sessions that are still in use end too.

    Raises:
        ServicesError: something could not be removed; says what.
    """
    for directory in sessions():
        progress(f"stopping {directory.name}")
        _discard(directory)
    try:
        shutil.rmtree(CACHE)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ServicesError(f"cannot remove {error.filename}: {error.strerror}") from error


def _discard(directory: Path) -> None:
    with uninterrupted():
        stop_processes(directory)
        docker.stop_session(directory)
        network.put_back(directory)
        shutil.rmtree(directory, ignore_errors=True)
