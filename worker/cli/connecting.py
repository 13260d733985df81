"""The client that commands use."""

from worker.client import CallControl
from worker.settings import Settings


def client_of(settings: Settings, *, timeout: float = 10.0) -> CallControl:
    """Return a client of the installation that the settings name.

    Args:
        settings: The settings.
        timeout: How long an answer, or a confirm, is waited for, in seconds.
    """
    return CallControl(
        settings.amqp_url.get_secret_value(),
        namespace=settings.namespace,
        timeout=timeout,
        name="callctl",
    )
