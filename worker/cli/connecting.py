"""The client that commands use."""

from worker.client import CallControl, Refused
from worker.errors import ConfigurationError
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


def mistake(refused: Refused) -> ConfigurationError:
    """Return what is wrong with a command that was not published, as of one's input."""
    return ConfigurationError(refused.reason.partition(": ")[2])
