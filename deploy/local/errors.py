"""What can go wrong while servers are provided.

ServicesError
├── NoProviderError      install something, or name the servers in the environment
├── ServerFailedError    read the end of the log it carries
└── CommandFailedError   a tool this needs (apt, mmdebstrap, docker) did not succeed
"""


class ServicesError(Exception):
    """Base of all errors raised here; its text is meant for the person at the terminal."""


class NoProviderError(ServicesError):
    """Raised when nothing on this machine can provide RabbitMQ and Redis."""


class ServerFailedError(ServicesError):
    """Raised when a server does not start, answer or stop within its time."""


class CommandFailedError(ServicesError):
    """Raised when a command fails or outlives its time limit."""
