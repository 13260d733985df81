"""Options that several commands have."""

from typing import Annotated

import typer

ManagementOption = Annotated[
    str | None,
    typer.Option(
        help="RabbitMQ's management, which shows bindings and policies too, as http://host:15672;"
        " without a user in it, as the one of CALL_CONTROL_AMQP_URL.",
        metavar="URL",
    ),
]
