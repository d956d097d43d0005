"""The world that a person meets: the servers and people of config/quickstart, on free ports, in a temporary folder."""

import asyncio
import contextlib
import pathlib
import shutil
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "config" / "demo"))

import main as demo  # noqa: E402
import people  # noqa: E402
import servers as start  # noqa: E402


class Options:
    def __init__(self, program):
        self.program = program
        self.providers = ROOT / "config" / "providers"


class World(demo.Demo):
    """What the demonstration starts, without what it prepares: nobody has registered, nobody is in the room."""

    WANTED = {}
    OTHERS = [*demo.Demo.WANTED, *demo.Demo.OTHERS]

    # The one who uses the client. No administrator, so that they see what users see.
    user = "bob@localhost"
    password = demo.USERS["bob"]

    def __init__(self, options, folder):
        super().__init__(options)
        self.folder = folder
        # What ends the clients.
        self.endings = []

    @property
    def contact(self):
        """Carol, who has a mailbox and answers."""
        return demo.CAROL.replace("@", "\\40") + "@email.localhost"

    def facts(self):
        """What a client has to know."""
        return {
            "user": self.user,
            "password": self.password,
            "port": self.ports["xmpp"],
            "websocket": f"ws://127.0.0.1:{self.ports['upload']}/xmpp-websocket",
            "contact": self.contact,
            "phone": f"{demo.PHONE}@sms.localhost",
            "room": self.room,
        }


@contextlib.asynccontextmanager
async def world(program):
    """All of it, running, for as long as this lasts; a folder for the client is in it."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="isthmus-clients-"))
    folder.chmod(0o755)  # the mail servers work as users of their own
    servers = start.Servers(folder, print)
    here = World(Options(program), folder)
    try:
        await asyncio.to_thread(here.start_servers, servers)
        async with people.all_of(here.people()):
            yield here
    finally:
        for end in here.endings:
            await asyncio.to_thread(end)
        servers.ending = True
        await asyncio.to_thread(servers.stop)
        shutil.rmtree(folder, ignore_errors=True)
