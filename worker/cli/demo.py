"""``callctl demo``."""

from worker.cli import demonstration
from worker.cli.running import group, run

app = group()


@app.command()
def demo() -> None:
    """Play the documented conversation through RabbitMQ, with a worker of its own."""
    run(demonstration.demo)
