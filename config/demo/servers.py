"""The servers of the demonstration: each in the foreground, on 127.0.0.1, with its files in one folder."""

import pathlib
import shutil
import signal
import socket
import subprocess
import time


def free_port(preferred=None):
    """A port that nobody listens on: the preferred one if it is free."""
    for port in [preferred, 0] if preferred else [0]:
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
                return listener.getsockname()[1]
            except OSError:
                continue
    raise RuntimeError("no port is free")


class Servers:
    """What runs. `stop` ends all of it, the last started first."""

    def __init__(self, folder, say):
        self.folder = pathlib.Path(folder)
        self.say = say
        self.running = []
        self.ending = False

    def place(self, name, owner=None):
        place = self.folder / name
        place.mkdir(mode=0o755)
        if owner:
            shutil.chown(place, *owner)
        return place

    def start(self, name, command, port, greeting=None, stop=None):
        """Starts a program and waits until its port answers (with these bytes, where it speaks first)."""
        if self.ending:
            raise RuntimeError("stopped")
        log = self.folder / f"{name}.log"
        with open(log, "ab") as output:
            # In a group of its own, so that Ctrl-C reaches us alone and each is stopped in order.
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0)
        self.running.append((name, process, stop))
        begun = told = time.monotonic()
        while not answers(port, greeting):
            if self.ending:
                raise RuntimeError("stopped")
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended at once (exit code {process.returncode}):\n{tail(log)}")
            now = time.monotonic()
            if now - begun > 60:
                raise RuntimeError(f"{name} is not ready after a minute:\n{tail(log)}")
            if now - told > 2:
                told = now
                self.say(f"  … waiting for {name}, {now - begun:.0f} s")
            time.sleep(0.05)
        return process

    def check(self):
        """Names a server that has ended, if one has."""
        return next((name for name, process, _ in self.running if process.poll() is not None), None)

    def stop(self):
        while self.running:
            name, process, stop = self.running.pop()
            if stop:
                subprocess.run(stop, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            elif process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                self.say(f"  {name} does not end by itself")
                process.kill()
                process.wait()


def answers(port, greeting):
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            if greeting is None:
                return True
            connection.settimeout(2)
            return connection.recv(100).startswith(greeting)
    except OSError:
        return False


def tail(path, lines=15):
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def certificate(folder):
    """A key and a certificate for `localhost`, signed by itself."""
    key, cert = folder / "localhost.key", folder / "localhost.crt"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return key, cert


def prosody(servers, ports, components, users):
    place = servers.place("prosody", ("prosody", "prosody"))
    (place / "data").mkdir()
    key, cert = certificate(place)
    for path in (place / "data", key, cert):
        shutil.chown(path, "prosody", "prosody")
    text = f"""
run_as_root = true
pidfile = "{place}/prosody.pid"
data_path = "{place}/data"
log = {{ {{ levels = {{ min = "info" }}, to = "file", filename = "{place}/prosody.log" }} }}
modules_enabled = {{ "roster", "saslauth", "tls", "disco", "carbons", "pep", "mam", "blocklist", "vcard4", "vcard_legacy",
  "private", "ping", "time", "smacks", "bookmarks", "offline", "websocket" }}
modules_disabled = {{ "s2s" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {ports["xmpp"]} }}
c2s_direct_tls_ports = {{ }}
s2s_ports = {{ }}
component_ports = {{ {ports["component"]} }}
component_interface = "127.0.0.1"
http_ports = {{ {ports["upload"]} }}
http_interfaces = {{ "127.0.0.1" }}
https_ports = {{ }}
http_default_host = "localhost"
http_external_url = "http://127.0.0.1:{ports["upload"]}/"
-- On the loopback both are wanted: clients that insist on TLS, and those that do not know this certificate.
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_plain"
-- For clients in a browser, such as converse.js, whose page may come from anywhere on this machine.
consider_websocket_secure = true
cross_domain_websocket = true
storage = "internal"

VirtualHost "localhost"
  ssl = {{ key = "{key}", certificate = "{cert}" }}
"""
    for domain, secret in components.items():
        text += f'Component "{domain}"\n  component_secret = "{secret}"\n'
    allowed = ", ".join(f'"{name}"' for name in [*components, "localhost"])
    text += f'Component "upload.localhost" "http_file_share"\n  http_host = "localhost"\n  http_file_share_access = {{ {allowed} }}\n'
    config = place / "prosody.cfg.lua"
    config.write_text(text)
    accounts = place / "data" / "localhost" / "accounts"
    accounts.mkdir(parents=True)
    for name, password in users.items():
        (accounts / f"{name}.dat").write_text(f'return {{ ["password"] = "{password}"; }};\n')
    subprocess.run(["chown", "-R", "prosody:prosody", place / "data"], check=True)
    servers.start("prosody", ["prosody", "--root", "--config", config, "-F"], ports["xmpp"])


def ngircd(servers, port):
    place = servers.place("ngircd")
    config = place / "ngircd.conf"
    config.write_text(f"""[Global]
Name = irc.localhost
Info = the demonstration's IRC server
Listen = 127.0.0.1
Ports = {port}
AdminEMail = nobody@localhost
ServerUID = nobody
ServerGID = nogroup
MotdPhrase = Welcome to the demonstration
[Limits]
MaxConnections = 0
MaxConnectionsIP = 0
MaxNickLength = 30
MaxPenaltyTime = 0
[Options]
DNS = no
Ident = no
PAM = no
[Channel]
Name = #lobby
Topic = Where the messages cross
Modes = tn
""")
    config.chmod(0o644)
    servers.start("ngircd", ["/usr/sbin/ngircd", "-n", "-f", config], port)


def dovecot(servers, lmtp, imap, users):
    place = servers.place("dovecot")
    (place / "mail").mkdir()
    (place / "run").mkdir()
    shutil.chown(place / "mail", "mail", "mail")
    (place / "passwd").write_text("".join(f"{name}:{{PLAIN}}{password}::::::\n" for name, password in users.items()))
    config = place / "dovecot.conf"
    config.write_text(f"""base_dir = {place}/run
state_dir = {place}/run
log_path = {place}/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
default_internal_user = dovecot
default_login_user = dovenull
mail_location = maildir:{place}/mail/%u
mail_uid = mail
mail_gid = mail
first_valid_uid = 1
auth_username_format = %Lu
postmaster_address = postmaster@mail.localhost
passdb {{
  driver = passwd-file
  args = {place}/passwd
}}
userdb {{
  driver = passwd-file
  args = {place}/passwd
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    address = 127.0.0.1
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
""")
    servers.start("dovecot", ["dovecot", "-F", "-c", config], imap, b"* OK")


def postfix(servers, smtp, gateway, mailboxes):
    """`gateway` and `mailboxes`: a mail domain each, and the port that takes its mail by LMTP."""
    place = servers.place("postfix")
    for name in ("etc", "queue", "data"):
        (place / name).mkdir()
    shutil.chown(place / "data", "postfix")
    routes = ", ".join(f"{domain}=lmtp:inet:127.0.0.1:{port}" for domain, port in (gateway, mailboxes))
    (place / "etc" / "main.cf").write_text(f"""compatibility_level = 3.6
queue_directory = {place}/queue
data_directory = {place}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {place}/maillog
maillog_file_prefixes = {place}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.localhost
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
relay_domains = {gateway[0]}, {mailboxes[0]}
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
transport_maps = inline:{{ {routes} }}
default_transport = error:5.1.2 the demonstration reaches no other domain
smtp_dns_support_level = disabled
smtp_host_lookup = native
lmtp_host_lookup = native
smtpd_peername_lookup = no
""")
    services = f"""127.0.0.1:{smtp} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
    (place / "etc" / "master.cf").write_text(services)
    etc = place / "etc"
    # Its first process leaves the master behind, so it is stopped by its own command.
    servers.start("postfix", ["postfix", "-c", etc, "start-fg"], smtp, b"220", ["postfix", "-c", etc, "stop"])


def kannel(servers, ports, password, inbound):
    """`inbound`: the address that Kannel calls with a text that came in."""
    place = servers.place("kannel")
    config = place / "kannel.conf"
    config.write_text(f"""group = core
admin-port = {ports["kannel"]}
admin-interface = 127.0.0.1
admin-password = {password}
smsbox-port = {ports["smsbox"]}
smsbox-interface = 127.0.0.1
box-allow-ip = 127.0.0.1
box-deny-ip = "*.*.*.*"
log-file = {place}/bearerbox.log
log-level = 1
dlr-storage = internal

group = smsc
smsc = fake
smsc-id = FAKE
port = {ports["smsc"]}
connect-allow-ip = 127.0.0.1

group = smsbox
bearerbox-host = 127.0.0.1
bearerbox-port = {ports["smsbox"]}
sendsms-port = {ports["sendsms"]}
sendsms-interface = 127.0.0.1
sendsms-chars = "0123456789+ "
log-file = {place}/smsbox.log
log-level = 1
mo-recode = true

group = sendsms-user
username = isthmus
password = {password}
max-messages = 10
concatenation = true

group = sms-service
keyword = default
catch-all = true
max-messages = 0
get-url = "{inbound}"
""")
    config.chmod(0o600)
    servers.start("bearerbox", ["/usr/sbin/bearerbox", config], ports["smsbox"])
    servers.start("smsbox", ["/usr/sbin/smsbox", config], ports["sendsms"])
