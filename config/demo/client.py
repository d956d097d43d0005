"""A user's XMPP client: slixmpp, as Debian ships it."""

import asyncio
import logging
import secrets
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

# It warns of a slower stringprep at its import, and of each connection that ends at the stop.
logging.basicConfig(level=logging.CRITICAL)

import slixmpp  # noqa: E402

FORM = "jabber:x:data"


class User(slixmpp.ClientXMPP):
    """Logged in, it keeps what came until somebody waits for it."""

    def __init__(self, jid, password, port):
        plain = {"unencrypted_plain": True, "unencrypted_scram": True}
        super().__init__(jid, password, plugin_config={"feature_mechanisms": plain})
        self.port = port
        self.register_plugin("xep_0199")
        self.online = asyncio.Event()
        self.came = asyncio.Condition()
        self.stanzas = []
        self.add_event_handler("session_start", self.on_session)
        self.add_event_handler("message", self.on_stanza)
        self.add_event_handler("message_error", self.on_stanza)
        self.add_event_handler("presence", self.on_stanza)

    async def log_in(self):
        self.connect(("127.0.0.1", self.port), disable_starttls=True)
        await asyncio.wait_for(self.online.wait(), 30)

    async def on_session(self, _):
        await self.get_roster()
        self.send_presence()
        self.online.set()

    async def on_stanza(self, stanza):
        async with self.came:
            self.stanzas.append(stanza.xml)
            self.came.notify_all()

    async def wait(self, what, fits, within=60):
        """The first stanza that fits."""
        def found():
            return next((stanza for stanza in self.stanzas if fits(stanza)), None)

        async with self.came:
            try:
                await asyncio.wait_for(self.came.wait_for(found), within)
            except asyncio.TimeoutError:
                raise RuntimeError(f"{what} did not come within {within} s") from None
            return found()

    def write(self, to, body, kind="chat"):
        """Sends a message, and gives its id."""
        name = secrets.token_hex(8)
        self.send_raw(f"<message to={quoteattr(to)} type='{kind}' id='{name}'><body>{escape(body)}</body></message>")
        return name

    def enter(self, room, nick):
        self.send_raw(f"<presence to={quoteattr(room + '/' + nick)}><x xmlns='http://jabber.org/protocol/muc'/></presence>")

    async def ask(self, to, kind, payload):
        """An IQ and its answer; an error is raised."""
        request = self.make_iq(ito=to, itype=kind)
        request.append(ET.fromstring(payload))
        return (await request.send(timeout=30)).xml

    async def register(self, gateway, values):
        """XEP-0077, by its form."""
        offer = await self.ask(gateway, "get", "<query xmlns='jabber:iq:register'/>")
        form = offer.find(f".//{{{FORM}}}x")
        answers = filled(form, values) if form is not None else ""  # nothing to fill in
        await self.ask(gateway, "set", f"<query xmlns='jabber:iq:register'>{answers}</query>")


def filled(form, values):
    """A form with what it proposes, but for these values."""
    fields = ""
    for field in form.findall(f"{{{FORM}}}field"):
        name = field.get("var")
        if name is None:
            continue
        proposed = [value.text or "" for value in field.findall(f"{{{FORM}}}value")]
        words = [values[name]] if name in values else proposed
        fields += f"<field var={quoteattr(name)}>" + "".join(f"<value>{escape(word)}</value>" for word in words) + "</field>"
    return f"<x xmlns='{FORM}' type='submit'>{fields}</x>"


def bare(stanza):
    return (stanza.get("from") or "").split("/")[0]


def body(stanza):
    return stanza.findtext("{jabber:client}body") or ""
