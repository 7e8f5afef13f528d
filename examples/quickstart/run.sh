#!/bin/sh
# The first four actions and a hot reload, shown with curl, without the internet: rules answer some of the requests, and
# a server that this script starts answers the others. Exit code 0 means that every answer was as promised.
#
# Everything is written to a temporary folder, except the virtual environment .venv, which is made where there is none.
# PYTHON names another interpreter, one that can import rulesproxy.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
if [ -z "${PYTHON:-}" ]; then
    PYTHON=$root/.venv/bin/python
    if [ ! -x "$root/.venv/bin/rulesproxy" ]; then
        echo "Making $root/.venv ..."
        python3 -m venv "$root/.venv"
        "$PYTHON" -m pip install -q -e "$root"
    fi
fi
command -v curl >/dev/null || { echo "this example needs curl" >&2; exit 1; }

work=$(mktemp -d)
proxy_pid= origin_pid=
clean_up() {
    for pid in $proxy_pid $origin_pid; do
        kill "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# curl would go around the proxy for hosts that are named here.
unset no_proxy NO_PROXY
export RULESPROXY_HOME="$work/home"

# wait_for FILE PID: until the file has content; fails when the process ends first, or after 20 seconds.
wait_for() {
    tries=200
    until [ -s "$1" ]; do
        tries=$((tries - 1))
        if [ "$tries" -eq 0 ] || ! kill -0 "$2" 2>/dev/null; then
            echo "$1 was not written" >&2
            return 1
        fi
        sleep 0.1
    done
}

title() {
    printf '\n== %s\n' "$1"
}

# ask ARGUMENT...: show a curl command and its answer, and keep the answer.
ask() {
    printf '$ curl -x %s %s\n' "$proxy" "$*"
    answer=$(curl -sS --max-time 20 -x "$proxy" "$@" 2>&1 | tr -d '\r')
    printf '%s\n' "$answer" | sed 's/^/  /'
}

# expect TEXT...: each must be in the last answer.
expect() {
    for text in "$@"; do
        case $answer in
            *"$text"*) ;;
            *) echo "NOT AS PROMISED: the answer above should have: $text" >&2; failed=1 ;;
        esac
    done
}

failed=0
cp -R "$here/rules.yaml" "$here/mocks" "$work"
"$PYTHON" "$here/origin.py" "$work" &
origin_pid=$!
wait_for "$work/ports" "$origin_pid"
read -r port tls_port <"$work/ports"

title "rulesproxy run rules.yaml --listen 127.0.0.1:0 --upstream-ca origin-ca.pem"
"$PYTHON" -m rulesproxy run "$work/rules.yaml" --listen 127.0.0.1:0 --upstream-ca "$work/origin-ca.pem" \
    --ready-file "$work/ready.json" 2>"$work/log" &
proxy_pid=$!
wait_for "$work/ready.json" "$proxy_pid" || { cat "$work/log" >&2; exit 1; }
proxy=$("$PYTHON" -c 'import json, sys
print("http://{host}:{port}".format(**json.load(open(sys.argv[1]))["listeners"][0]))' "$work/ready.json")
echo "listening on $proxy"

title "block: refused, and no server is asked (ads.example does not exist)"
ask -i http://cdn.ads.example/banner.js
expect "403 Forbidden"

title "redirect: a capture and the query move on"
ask -i "http://shop.example/old/cart?item=7"
expect " 302 " "ocation: https://shop.example/new/cart?item=7"

title "map-local: a file answers, whatever the host"
ask -i http://shop.example/api/me
expect " 200 " "application/json" '"name": "Test user"'

title "rewrite: the server got another path, a header more and no cookie; its EUR became USD"
ask -i -b secret=1 "http://localhost:$port/v1/users?page=2"
expect " 200 " '"path": "/v2/users?page=2"' '"x-debug": "1"' '"cookie": null' "10 USD" "rewritten-by: rulesproxy"

title "no rule: what passes untouched"
ask -b secret=1 "http://localhost:$port/v3/users"
expect '"path": "/v3/users"' '"x-debug": null' '"cookie": "secret=1"' "10 EUR"

title "rewrite over HTTPS, decrypted and encrypted again"
ask --cacert "$work/home/ca.pem" "https://localhost:$tls_port/v1/users"
expect '"path": "/v2/users"' "10 USD"

title "hot reload: block becomes block: 451 in the rule file while the proxy runs"
sed 's/^    block:$/    block: 451/' "$work/rules.yaml" >"$work/draft"
mv "$work/draft" "$work/rules.yaml"
tries=100
until [ "$(curl -sS -o /dev/null -w '%{http_code}' -x "$proxy" http://ads.example/)" = 451 ] || [ "$tries" -eq 0 ]; do
    tries=$((tries - 1))
    sleep 0.1
done
ask -i http://ads.example/
expect " 451 "

kill "$proxy_pid"
code=0
wait "$proxy_pid" || code=$?
proxy_pid=
if [ "$code" -ne 0 ]; then
    echo "NOT AS PROMISED: the proxy ended with code $code" >&2
    failed=1
fi
if [ "$failed" -ne 0 ]; then
    printf '\nThe log of the proxy:\n' >&2
    cat "$work/log" >&2
    exit 1
fi
printf '\nEvery answer was as promised.\n'
