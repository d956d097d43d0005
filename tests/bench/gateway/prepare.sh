#!/bin/sh
# Writes the gateway's configuration for gatebench. The argument says whether rooms are recorded.
# With biboumi's defaults but for the port: 10 lines at once and one a second, unless the scenario wants no bound.
set -e
throttle='{ burst = 10, per_second = 1.0 }'
[ "$GB_LIFT_THROTTLE" = 1 ] && throttle='{ burst = 10, per_second = 0.0 }'
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
tls_ports = []
ports = [$GB_IRC_PORT]
throttle = $throttle
[history]
record = $1
TOML
