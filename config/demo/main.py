"""Starts the servers and the gateway, shows six messages crossing, and stays up. See config/quickstart."""

import argparse
import asyncio
import pathlib
import secrets
import shutil
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.request

import people
import servers as start
from client import User, bare, body

USERS = {"alice": "wonderland", "bob": "builder"}
CAROL = "carol@mail.localhost"
PHONE = "+15557654321"
NUMBERS = {"alice": "+15550001111", "bob": "+15550002222"}
CHANNEL = "#lobby"
DOMAINS = ["irc.localhost", "email.localhost", "sms.localhost"]
BEGUN = time.monotonic()


def say(text=""):
    print(text, flush=True)


def step(text):
    say(f"[{time.monotonic() - BEGUN:5.1f} s] {text}")


class Demo:
    # Where clients and browsers are pointed to, ports are the same every time if nobody else has them.
    WANTED = {"xmpp": 15222, "upload": 15280, "http": 15480, "smtp": 15025, "imap": 15143, "irc": 16667}
    OTHERS = ["component", "lmtp", "mailbox", "kannel", "smsbox", "sendsms", "smsc"]

    def __init__(self, options):
        self.options = options
        self.ports = {name: start.free_port(port) for name, port in self.WANTED.items()}
        for name in self.OTHERS:
            port = start.free_port()
            while port in self.ports.values():
                port = start.free_port()
            self.ports[name] = port
        self.secrets = {domain: secrets.token_hex(16) for domain in DOMAINS}
        self.kannel = secrets.token_hex(8)
        self.webhook = secrets.token_hex(16)

    def start_servers(self, servers):
        ports = self.ports
        step("Prosody, an XMPP server")
        start.prosody(servers, ports, self.secrets, USERS)
        step("ngircd, an IRC server")
        start.ngircd(servers, ports["irc"])
        step("Dovecot, with Carol's mailbox")
        start.dovecot(servers, ports["mailbox"], ports["imap"], {CAROL: "carol"})
        step("Postfix, between the gateway and Carol")
        start.postfix(servers, ports["smtp"], ("email.localhost", ports["lmtp"]), ("mail.localhost", ports["mailbox"]))
        step("Kannel, an SMS centre")
        hook = f"http://127.0.0.1:{ports['http']}/hooks/sms/kannel/in/{self.webhook}"
        start.kannel(servers, ports, self.kannel, f"{hook}?from=%p&to=%P&text=%b&charset=%C&id=%I&at=%T")
        step("Isthmus, on SQLite")
        config = self.configure(servers.folder / "isthmus")
        servers.start("isthmus", [self.options.program, "run", "--config", config], ports["http"])
        self.wait_ready(servers)

    def configure(self, folder):
        """The gateway's configuration: one file for itself, one for each bridge."""
        (folder / "bridges").mkdir(parents=True)
        shutil.copytree(self.options.providers, folder / "providers")
        ports = self.ports
        (folder / "isthmus.toml").write_text(f"""admins = ["alice@localhost"]
data_dir = "data"

[server]
host = "127.0.0.1"
port = {ports["component"]}
domains = ["localhost"]

[database]
url = "sqlite://isthmus.db"

[http]
listen = "127.0.0.1:{ports["http"]}"
public_url = "http://127.0.0.1:{ports["http"]}"

[files]
fetch_from = ["127.0.0.1"]
""")
        head = 'kind = "{0}"\ndomain = "{0}.localhost"\nsecret = "{1}"\n'
        texts = {
            "irc": f"""allow_private_networks = true

[networks.demo]
address = "127.0.0.1"
tls_ports = []
ports = [{ports["irc"]}]
""",
            "email": f"""[smtp]
host = "127.0.0.1"
port = {ports["smtp"]}

[listen]
lmtp = "127.0.0.1:{ports["lmtp"]}"

# Otherwise messages within half a minute become one mail.
[defaults]
join_seconds = 0
""",
            "sms": f"""country = "US"
provider = "providers/kannel.toml"

[credentials]
username = "isthmus"
password = "{self.kannel}"
url = "http://127.0.0.1:{ports["sendsms"]}/cgi-bin/sendsms"
webhook_secret = "{self.webhook}"
""" + "".join(f'\n[[numbers]]\nnumber = "{number}"\nuser = "{name}@localhost"\n' for name, number in NUMBERS.items()),
        }
        for kind, text in texts.items():
            path = folder / "bridges" / f"{kind}.toml"
            path.write_text(head.format(kind, self.secrets[f"{kind}.localhost"]) + text)
            path.chmod(0o600)
        return folder

    def wait_ready(self, servers):
        url = f"http://127.0.0.1:{self.ports['http']}/ready"
        for _ in range(300):
            try:
                urllib.request.urlopen(url, timeout=2).read()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise RuntimeError(f"the gateway is not ready:\n{start.tail(servers.folder / 'isthmus.log')}")

    def people(self):
        ports, self.heard = self.ports, {}
        place = {kind: asyncio.Queue() for kind in ("irc", "email", "sms")}
        self.heard = place
        return [
            people.OnIrc(ports["irc"], "erin", CHANNEL, place["irc"].put_nowait),
            people.WithMail(ports["imap"], ports["smtp"], CAROL, "carol", place["email"].put_nowait),
            people.OnPhone(ports["smsc"], PHONE, place["sms"].put_nowait),
        ]

    async def prepare(self, alice):
        """What a user does once: a mail address of their own, a seat in the channel."""
        step("Alice registers her mail address alice@email.localhost")
        await alice.register("email.localhost", {"alias": "alice"})
        step("Alice registers for SMS; her number is given by the configuration")
        await alice.register("sms.localhost", {})
        step(f"Alice enters {self.room}")
        alice.enter(self.room, "alice")
        own = "{http://jabber.org/protocol/muc#user}"

        def entered(stanza):
            codes = [status.get("code") for status in stanza.iter(f"{own}status")]
            return stanza.tag == "{jabber:client}presence" and bare(stanza) == self.room and "110" in codes

        await alice.wait("her own presence in the room", entered)

    @property
    def room(self):
        return f"{CHANNEL}%demo@irc.localhost"

    async def exchange(self, alice):
        """Writes to each network and waits for the answer; gives how many of the six crossed."""
        carol = CAROL.replace("@", "\\40")
        ways = [
            ("irc", "IRC", self.room, "groupchat", f"{CHANNEL} on ngircd"),
            ("email", "email", f"{carol}@email.localhost", "chat", f"{CAROL} by Postfix and Dovecot"),
            ("sms", "SMS", f"{PHONE}@sms.localhost", "chat", f"{PHONE} by Kannel"),
        ]
        crossed = 0
        for kind, name, address, how, where in ways:
            text = f"Hello from XMPP by {name}"
            begun = time.monotonic()
            stanza = alice.write(address, text, how)
            try:
                out = await self.until_heard(kind, text, alice, stanza)
            except RuntimeError as error:
                say(f"  {name:5}  out  NOT SEEN at {where}: {error}")
                continue
            crossed += 1
            say(f"  {name:5}  out  {out - begun:6.2f} s  alice@localhost → {where}: “{text}”")
            expected = people.answer(text)
            try:
                await alice.wait("an answer", lambda s: bare(s) == address and expected in body(s))
            except RuntimeError as error:
                say(f"  {name:5}  in   NOT SEEN: {error}")
                continue
            crossed += 1
            say(f"  {name:5}  in   {time.monotonic() - out:6.2f} s  {where} → alice@localhost: “{expected}”")
        return crossed

    async def until_heard(self, kind, text, alice, stanza):
        """When the person on the other side has it; an error where the gateway says that it does not go."""
        async def heard():
            while text not in await self.heard[kind].get():
                pass
            return time.monotonic()

        refused = alice.wait("an error", lambda s: s.get("id") == stanza and s.get("type") == "error", 70)
        both = [asyncio.create_task(heard()), asyncio.create_task(refused)]
        try:
            done, _ = await asyncio.wait(both, timeout=60, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise RuntimeError("nothing came within 60 s")
            if both[0] in done:
                return both[0].result()
            words = both[1].result().findtext(".//{urn:ietf:params:xml:ns:xmpp-stanzas}text")
            raise RuntimeError(words or "the gateway refused it")
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    def how_to_log_in(self):
        ports = self.ports
        carol = CAROL.replace("@", "\\40")
        logins = "".join(f"\n    {name}@localhost   password {password}" for name, password in USERS.items())
        say(f"""
Log in with any XMPP client on this machine:
    server 127.0.0.1, port {ports["xmpp"]} (STARTTLS with a certificate of its own, or none){logins}
    in a browser: ws://127.0.0.1:{ports["upload"]}/xmpp-websocket

Write to these, each answers:
    {carol}@email.localhost    Carol, by mail
    {PHONE}@sms.localhost              a telephone
    {self.room}              a room with erin in it; erin%demo@irc.localhost in private
And to email.localhost, irc.localhost or sms.localhost themselves: “help”. Bob has to write “register” to the first and the last before.

From the other side:
    mail to alice@email.localhost      SMTP 127.0.0.1:{ports["smtp"]}; Carol's mailbox: IMAP 127.0.0.1:{ports["imap"]}, {CAROL}, password carol
    IRC                                127.0.0.1:{ports["irc"]}, channel {CHANNEL}
    the gateway                        http://127.0.0.1:{ports["http"]}/ready and /metrics
""")


async def run(options, stop):
    demo = Demo(options)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="isthmus-quickstart-"))
    folder.chmod(0o755)  # the mail servers work as users of their own
    servers = start.Servers(folder, say)
    say(f"Starting everything on 127.0.0.1, in {folder}")
    starting = asyncio.create_task(asyncio.to_thread(demo.start_servers, servers))
    try:
        await asyncio.shield(starting)
        async with people.all_of(demo.people()) as tasks:
            alice = User("alice@localhost/quickstart", USERS["alice"], demo.ports["xmpp"])
            step("Alice logs in")
            await alice.log_in()
            await demo.prepare(alice)
            step("Messages cross:")
            crossed = await demo.exchange(alice)
            step(f"{crossed} of 6 messages crossed")
            if not options.once:
                alice.disconnect()
                demo.how_to_log_in()
                say("It stays up until Ctrl-C.")
                await watch(servers, tasks, stop)
        return 0 if crossed == 6 else 1
    finally:
        step("Stopping everything")
        servers.ending = True
        await asyncio.gather(starting, return_exceptions=True)  # a thread cannot be broken off
        await asyncio.to_thread(servers.stop)
        shutil.rmtree(folder, ignore_errors=True)


async def watch(servers, tasks, stop):
    """Until told to stop; says so if something ends before."""
    while not stop.is_set():
        ended = servers.check()
        if ended:
            raise RuntimeError(f"{ended} has ended:\n{start.tail(servers.folder / (ended + '.log'))}")
        for task in tasks:
            if task.done():
                task.result()
        try:
            await asyncio.wait_for(stop.wait(), 1)
        except asyncio.TimeoutError:
            pass


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True, help="the gateway")
    parser.add_argument("--providers", required=True, help="folder of SMS provider files")
    parser.add_argument("--once", action="store_true", help="end after the exchange")
    options = parser.parse_args()
    stop = asyncio.Event()
    work = asyncio.create_task(run(options, stop))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # While it stays up it ends by itself; before, it is broken off. Either way all servers are stopped.
        asyncio.get_running_loop().add_signal_handler(number, lambda: (stop.set(), work.cancel()))
    try:
        return await work
    except asyncio.CancelledError:
        return 130
    except Exception as error:
        say(f"\nIt did not work: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
