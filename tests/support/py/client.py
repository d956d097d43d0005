"""An XMPP client for tests: slixmpp, spoken to in JSON lines.

Arguments: JID, password, host, port of the client listener.
Input:  {"do": "send", "xml": "..."}, {"do": "feature", "var": "..."}, {"do": "disconnect"}, {"do": "quit"},
        {"do": "pings", "how": "unknown"} (it knows no pings any more), {"do": "pings", "how": "silent"} (it does not answer them)
Output: {"event": "session", "jid": "..."}, {"event": "stanza", "xml": "..."}, {"event": "disconnected"},
        {"event": "failed", "why": "..."}
Every message, presence and iq that arrives is reported, also those that slixmpp answers by itself.
"""

import asyncio
import json
import sys

import slixmpp


def tell(**event):
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


class Client(slixmpp.ClientXMPP):
    def __init__(self, jid, password, host, port):
        plain = {"unencrypted_plain": True, "unencrypted_scram": True}
        super().__init__(jid, password, plugin_config={"feature_mechanisms": plain})
        self.where = (host, int(port))
        self.silent = False
        self.enable_starttls = False
        self.enable_direct_tls = False
        self.enable_plaintext = True
        # Subscriptions are the test's to answer.
        self.roster.auto_authorize = None
        self.roster.auto_subscribe = False
        for plugin in ("xep_0030", "xep_0092", "xep_0199"):
            self.register_plugin(plugin)
        self.add_filter("in", self.report)
        self.add_event_handler("session_start", lambda _: tell(event="session", jid=str(self.boundjid)))
        self.add_event_handler("disconnected", lambda _: tell(event="disconnected"))
        self.add_event_handler("failed_all_auth", lambda _: tell(event="failed", why="authentication"))

    def start(self):
        self.connect(*self.where)

    def report(self, stanza):
        if stanza.name in ("message", "presence", "iq"):
            tell(event="stanza", xml=str(stanza))
        if self.silent and stanza.name == "iq" and stanza["type"] == "get":
            return None
        return stanza

    def answer_pings(self, how):
        self.silent = how == "silent"
        if how == "unknown":
            self.plugin.disable("xep_0199")


async def main():
    client = Client(*sys.argv[1:5])
    client.start()
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=1 << 26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        order = json.loads(line)
        try:
            if order["do"] == "send":
                client.send_raw(order["xml"])
            elif order["do"] == "feature":
                client["xep_0030"].add_feature(order["var"])
            elif order["do"] == "pings":
                client.answer_pings(order["how"])
            elif order["do"] == "disconnect":
                await client.disconnect()
            elif order["do"] == "quit":
                break
        except slixmpp.xmlstream.xmlstream.NotConnectedError:
            tell(event="disconnected")
        except Exception as error:
            tell(event="failed", why=repr(error))
    await client.disconnect()


asyncio.run(main())
