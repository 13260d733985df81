#!/bin/sh
# Prints the events of one call as they are published, a line for each.
#
#   CALL_CONTROL_AMQP_URL=amqp://… ./subscribe.sh REQUEST_ID
#
# amqp-consume runs the command once for each event, with the body on its standard input. In the
# URL, the virtual host / is %2F.
set -eu
exec amqp-consume --url="$CALL_CONTROL_AMQP_URL" --exclusive \
    --exchange="${CALL_CONTROL_NAMESPACE:+$CALL_CONTROL_NAMESPACE.}call_control.events" \
    --routing-key="*.${1:?REQUEST_ID}" -- sh -c 'cat; echo'
