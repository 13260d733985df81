"""RabbitMQ: what is declared there, how commands come in and how events go out."""
