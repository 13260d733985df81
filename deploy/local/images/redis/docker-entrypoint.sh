#!/bin/sh
set -eu
# Options alone, or a configuration file alone, are meant for redis-server.
case "$1" in -* | *.conf) set -- redis-server "$@" ;; esac
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
	chown redis:redis .
	exec setpriv --reuid=redis --regid=redis --init-groups "$0" "$@"
fi
# Like the official image: reached through published ports, so without protected mode.
if [ "$1" = redis-server ] && [ $# = 1 ]; then
	set -- "$@" --protected-mode no
fi
exec "$@"
