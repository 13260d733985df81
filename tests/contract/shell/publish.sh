#!/bin/sh
# Publishes commands for one call, one JSON object a line on standard input.
#
#   CALL_CONTROL_AMQP_URL=amqp://… ./publish.sh REQUEST_ID < commands
#
# amqp-publish sets no message_id and waits for no confirm: good for trying things out.
set -eu
exec amqp-publish --url="$CALL_CONTROL_AMQP_URL" --line-buffered --persistent \
    --exchange="${CALL_CONTROL_NAMESPACE:+$CALL_CONTROL_NAMESPACE.}call_control.commands" \
    --routing-key="${1:?REQUEST_ID}" --content-type=application/json
