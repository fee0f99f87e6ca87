#!/bin/bash
# Sends records with `logger` of util-linux, one process each, in order.
#
#   syslog.sh ADDRESS FILE [OPTION OF logger]...
#
# ADDRESS is udp://HOST:PORT, tcp://HOST:PORT, or the path of a Unix socket of either kind. FILE has one JSON object a line,
# {"category": .., "body_base64": ..}; the category is sent as the tag. Prints `sent N` for each, from 0: syslog does not
# acknowledge. Stops with status 2 at a body that no command line and no line of a file can carry: one with a NUL, or one
# with a newline that is longer than 100,000 bytes.
set -euo pipefail

address=$1 file=$2
shift 2
case $address in
    udp://*) target=(--udp) rest=${address#udp://} ;;
    tcp://*) target=(--tcp) rest=${address#tcp://} ;;
    *) target=(--socket "$address" --socket-errors=on) rest= ;;
esac
if [ -n "$rest" ]; then
    target+=(--server "${rest%:*}" --port "${rest##*:}")
fi

body=$(mktemp)
trap 'rm -f "$body"' EXIT
n=0
while IFS=$'\t' read -r tag encoded; do
    printf %s "$encoded" | base64 -d >"$body"
    send=(logger "${target[@]}" --size 2MiB --tag "$tag" "$@")
    size=$(stat -c %s "$body")
    nuls=$(tr -dc '\0' <"$body" | wc -c) newlines=$(tr -dc '\n' <"$body" | wc -c)
    if [ "$nuls" -gt 0 ] || { [ "$size" -gt 100000 ] && [ "$newlines" -gt 0 ]; }; then
        echo "record $n cannot be sent with logger" >&2
        exit 2
    elif [ "$newlines" = 0 ]; then
        # As a line of a file: an empty argument would not be sent.
        echo >>"$body"
        "${send[@]}" --file "$body"
    else
        # The dot keeps newlines at the end from being lost.
        text=$(cat "$body"; printf .)
        "${send[@]}" -- "${text%.}"
    fi
    echo "sent $n"
    n=$((n + 1))
done < <(sed -E 's/^\{"category": *"([^"]*)", *"body_base64": *"([^"]*)"\}$/\1\t\2/' "$file")
