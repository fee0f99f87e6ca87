#!/usr/bin/env bash
# A store for tests, on this machine: server.sh KIND FOLDER PORT OTHER_PORT
#
#   moto     S3 as the Python package `moto[server]` plays it; signatures are not checked
#   ceph     the S3 gateway of Ceph (Debian packages radosgw, ceph-mon, ceph-osd), its data in memory
#   azurite  Azure Blob as the npm package `azurite` plays it
#
# Says `ready` once there is a bucket named `logboom`, or `skip` and why, and runs until its standard input ends.
set -euo pipefail
kind=$1 dir=$2 port=$3 other=$4
children=()
stop() {
    [ ${#children[@]} = 0 ] || kill "${children[@]}" 2>/dev/null || true
    wait
    # What led to a failure is left.
    [ -z "${is_ready:-}" ] || rm -rf "$dir"
}
trap stop EXIT
skip() { echo "skip $*"; exit 0; }
# Starts a server; its output is a file by the name that comes first.
start() { local log=$dir/$1.out; shift; "$@" >"$log" 2>&1 </dev/null & children+=($!); }
listening() {
    for _ in $(seq 600); do
        if curl -s -o "$dir/answer" -m 5 "http://127.0.0.1:$port/"; then return; fi
        sleep 0.1
    done
    echo "skip $kind does not listen: $(tail -n 3 "$dir"/*.out | tr '\n' ' ')"
    exit 1
}

moto() {
    python=${LOGBOOM_TEST_PYTHON:-}
    [ -n "$python" ] && "$python" -c 'import moto.server' 2>/dev/null ||
        skip 'LOGBOOM_TEST_PYTHON names no Python with `moto[server]`'
    start moto "$python" -m moto.server -H 127.0.0.1 -p "$port"
    listening
    curl -sf -o "$dir/answer" -X PUT "http://127.0.0.1:$port/logboom"
}

azurite() {
    modules=${LOGBOOM_TEST_NODE_MODULES:-}
    command -v node >/dev/null && [ -f "$modules/azurite/dist/src/blob/main.js" ] ||
        skip 'LOGBOOM_TEST_NODE_MODULES names no folder with `azurite`'
    start azurite node "$modules/azurite/dist/src/blob/main.js" --blobHost 127.0.0.1 --blobPort "$port" \
        --inMemoryPersistence --skipApiVersionCheck --silent --disableTelemetry
    listening
    node -e '
        const port = process.argv[1], key = Buffer.from(process.argv[2], "base64"), date = new Date().toUTCString()
        const account = "devstoreaccount1", path = `/${account}/logboom`
        const text = `PUT${"\n".repeat(12)}x-ms-date:${date}\nx-ms-version:2021-12-02\n/${account}${path}\nrestype:container`
        const signature = require("crypto").createHmac("sha256", key).update(text).digest("base64")
        const headers = { "x-ms-date": date, "x-ms-version": "2021-12-02", "content-length": 0,
            authorization: `SharedKey ${account}:${signature}` }
        const request = { host: "127.0.0.1", port, method: "PUT", path: `${path}?restype=container`, headers }
        require("http").request(request, answer => process.exit(answer.statusCode == 201 ? 0 : 1)).end()
    ' "$port" "$AZURITE_KEY"
}

ceph() {
    for tool in ceph-mon ceph-osd radosgw radosgw-admin monmaptool; do
        command -v $tool >/dev/null || skip "there is no $tool; the Debian packages are radosgw, ceph-mon, ceph-osd"
    done
    local fsid uuid conf=$dir/ceph.conf
    fsid=$(cat /proc/sys/kernel/random/uuid) uuid=$(cat /proc/sys/kernel/random/uuid)
    mkdir -p "$dir/mon"
    cat >"$conf" <<CONF
[global]
fsid = $fsid
mon host = v1:127.0.0.1:$other
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
auth supported = none
keyring = /dev/null
run dir = $dir
log file = $dir/\$name.log
admin socket = $dir/\$name.\$pid.asok
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd max object name len = 256
paxos propose interval = 0.1
paxos min wait = 0.01
mon allow pool size one = true
mon data avail crit = 1
[mon.a]
mon data = $dir/mon
[osd.0]
osd data = $dir/osd
osd objectstore = memstore
memstore device bytes = 8589934592
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:$port
rgw thread pool size = 64
CONF
    {
        monmaptool --create --addv a "[v1:127.0.0.1:$other]" --fsid "$fsid" "$dir/monmap"
        ceph-mon -c "$conf" -i a --mkfs --monmap "$dir/monmap"
    } >"$dir/mkfs.out" 2>&1
    start mon ceph-mon -c "$conf" -i a -f
    timeout 60 env ceph -c "$conf" osd new "$uuid" >>"$dir/mkfs.out" 2>&1
    # Now and then it hangs where it should tell the monitor that it is up, or takes itself for another cluster's.
    for _ in 1 2 3 4; do
        rm -rf "$dir/osd" && mkdir "$dir/osd"
        ceph-osd -c "$conf" -i 0 --mkfs --osd-uuid "$uuid" >>"$dir/mkfs.out" 2>&1
        start osd ceph-osd -c "$conf" -i 0 -f
        for _ in $(seq 40); do
            case $(env ceph -c "$conf" osd stat 2>>"$dir/mkfs.out") in *' 1 up '*) break 2 ;; esac
            kill -0 "${children[-1]}" 2>/dev/null || break
            sleep 0.2
        done
        kill -9 "${children[-1]}" 2>/dev/null || true
        unset 'children[-1]'
    done
    start rgw radosgw -c "$conf" -n client.rgw -f
    listening
    radosgw-admin -c "$conf" -n client.rgw user create --uid test --display-name test \
        --access-key test --secret-key testsecret >>"$dir/mkfs.out" 2>&1
    curl -sf -o "$dir/answer" -X PUT --aws-sigv4 aws:amz:us-east-1:s3 --user test:testsecret \
        -H "x-amz-content-sha256: $(sha256sum </dev/null | cut -d" " -f1)" "http://127.0.0.1:$port/logboom"
}

$kind
is_ready=1
echo ready
cat >/dev/null
