#!/bin/sh
# Starts Asterisk with what is in /etc/asterisk, what /etc/asterisk.d has to add to files of the
# same names, and the password in the file that CALL_CONTROL_ASTERISK_PASSWORD_FILE names, as the
# gateway's does. It is put together in /run/asterisk, so that all the rest can be read-only.
set -eu
if [ "$1" = asterisk ]; then
	etc=/run/asterisk/etc
	umask 077
	rm -rf "$etc"
	mkdir "$etc"
	# Not cp: it would keep what a mount says about who may write.
	for file in /etc/asterisk/*.conf /etc/asterisk.d/*.conf; do
		[ ! -e "$file" ] || { cat "$file"; echo; } >>"$etc/${file##*/}"
	done
	if [ -n "${CALL_CONTROL_ASTERISK_PASSWORD_FILE:-}" ]; then
		# Without the backslash a semicolon would begin a comment.
		password=$(head -n 1 "$CALL_CONTROL_ASTERISK_PASSWORD_FILE" | sed 's/;/\\;/g')
		printf '[%s](+)\npassword = %s\n' \
			"${CALL_CONTROL_ASTERISK_USER:-call-control}" "$password" >>"$etc/ari.conf"
	fi
	# The log is the container's.
	[ ! -e "$etc/logger.conf" ] || sed -i 's|^messages\.log *=|/dev/stdout =|' "$etc/logger.conf"
	more=
	! grep -q '^\[directories\]' "$etc/asterisk.conf" || more='(+)'
	printf '[directories]%s\nastetcdir = %s\n' "$more" "$etc" >>"$etc/asterisk.conf"
	set -- "$@" -C "$etc/asterisk.conf"
fi
exec "$@"
