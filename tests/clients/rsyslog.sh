#!/bin/bash
# Sends records through rsyslog's omfwd over TCP, in order.
#
#   rsyslog.sh HOST:PORT FILE [traditional | octet-counted]
#
# With LOGBOOM_TEST_CA (a PEM file) in the environment it is TLS, by rsyslog-gnutls.
#
# Runs an rsyslogd of its own in the foreground of a temporary folder, gives it the records over a Unix socket (FILE has one
# JSON object a line, {"category": .., "body_base64": ..}; the category is the app name), and ends it when it has passed
# them on. Prints `sent N` for each, from 0, once rsyslogd has it: syslog does not acknowledge. rsyslogd writes
# NULs as #000 and drops a newline at the end of a body; newlines inside need octet-counted framing.
set -euo pipefail

address=$1 file=$2 framing=${3:-octet-counted}
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d) daemon=
trap 'kill "$daemon" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$folder"' EXIT

authority= secure=
if [ -n "${LOGBOOM_TEST_CA:-}" ]; then
    authority="DefaultNetstreamDriverCAFile=\"$LOGBOOM_TEST_CA\""
    secure="StreamDriver=\"gtls\" StreamDriverMode=\"1\" StreamDriverAuthMode=\"x509/name\" StreamDriverPermittedPeers=\"localhost\""
fi
cat >"$folder/rsyslog.conf" <<CONF
global(
    $authority
    workDirectory="$folder"
    maxMessageSize="2m"
    parser.escapeControlCharactersOnReceive="off"
)
module(load="imptcp")
input(type="imptcp" path="$folder/in.sock" supportOctetCountedFraming="on" maxFrameSize="2000000")
action(
    type="omfwd" protocol="tcp" target="${address%:*}" port="${address##*:}" TCP_Framing="$framing"
    template="RSYSLOG_SyslogProtocol23Format" action.resumeRetryCount="-1" action.resumeInterval="1" $secure
)
CONF
rsyslogd -n -f "$folder/rsyslog.conf" -i "$folder/pid" &
daemon=$!
for _ in $(seq 100); do
    [ -S "$folder/in.sock" ] && break
    sleep 0.05
done
python3 "$here/syslog.py" "counted:$folder/in.sock" "$file"
# On SIGTERM it sends what it has queued.
sleep 0.5
kill "$daemon"
wait "$daemon" || true
