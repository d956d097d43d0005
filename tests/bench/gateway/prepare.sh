#!/bin/sh
# Writes the gateway's configuration for gatebench. The first argument says whether rooms are recorded; with the second, `tls`, its connections
# go through a proxy that ends TLS.
# With biboumi's defaults but for the port: 10 lines at once and one a second, unless the scenario wants no bound.
set -e
throttle='{ burst = 10, per_second = 1.0 }'
[ "$GB_LIFT_THROTTLE" = 1 ] && throttle='{ burst = 10, per_second = 0.0 }'
tls_ports='[]'
ports="[$GB_IRC_PORT]"
if [ "${2:-}" = tls ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -keyout "$GB_DIR/key.pem" -out "$GB_DIR/certificate.pem" 2> "$GB_DIR/openssl.log"
  cat "$GB_DIR/certificate.pem" "$GB_DIR/key.pem" > "$GB_DIR/both.pem"
  # It ends with gatebench; what runs this script may be a shell between them that ends before.
  bench=$PPID
  until [ "$(cat /proc/$bench/comm)" = gatebench ] || [ "$bench" -le 1 ]; do bench=$(cut -d ' ' -f 4 /proc/$bench/stat); done
  python3 "$(dirname "$0")/tls-proxy.py" "$GB_DIR/both.pem" "$GB_IRC_PORT" "$GB_DIR/tls-port" "$bench" > "$GB_DIR/proxy.log" 2>&1 &
  tries=0
  until [ -s "$GB_DIR/tls-port" ]; do
    tries=$((tries + 1))
    [ $tries -le 100 ] || { echo "the TLS proxy did not start" >&2; exit 1; }
    sleep 0.1
  done
  tls_ports="[$(cat "$GB_DIR/tls-port")]"
  ports='[]'
fi
mkdir -p "$GB_DIR/bridges"
cat > "$GB_DIR/isthmus.toml" <<TOML
data_dir = "data"
[server]
host = "127.0.0.1"
port = $GB_XMPP_PORT
domains = ["$GB_USER_DOMAIN"]
[database]
url = "sqlite://isthmus.db"
[http]
listen = "off"
[limits]
sessions_per_user = 0
[log]
level = "error"
TOML
cat > "$GB_DIR/bridges/irc.toml" <<TOML
kind = "irc"
domain = "$GB_COMPONENT"
secret = "$GB_SECRET"
allow_private_networks = true
[defaults]
tls_ports = $tls_ports
ports = $ports
verify_cert = false
throttle = $throttle
[history]
record = $1
TOML
