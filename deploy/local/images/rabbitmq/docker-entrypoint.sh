#!/bin/sh
set -eu
# Root only prepares what a mounted volume may have brought; the server runs as rabbitmq.
if [ "$1" = rabbitmq-server ] && [ "$(id -u)" = 0 ]; then
	chown rabbitmq:rabbitmq /var/lib/rabbitmq /var/log/rabbitmq
	exec setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups "$0" "$@"
fi
exec "$@"
