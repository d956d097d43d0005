"""Twelve flows of a person at profanity, a client for the terminal. It runs in tmux, which types and reads the screen."""

import os
import re
import subprocess
import time

from world import people

WIDTH, HEIGHT = 118, 34


class Failed(Exception):
    """What the person should have seen, and the screen as it was."""


class Profanity:
    def __init__(self, world, shots):
        self.world, self.shots = world, shots
        self.home = world.folder / "profanity"
        self.socket = world.folder / "tmux"
        self.settle()
        places = {"HOME": self.home, "XDG_CONFIG_HOME": self.home / "config", "XDG_DATA_HOME": self.home / "data"}
        environment = {**os.environ, "LANG": "C.UTF-8", "TZ": "UTC", **{name: str(path) for name, path in places.items()}}
        self.tmux("-u", "-f", "/dev/null", "new-session", "-d", "-s", "p", "-x", str(WIDTH), "-y", str(HEIGHT), "profanity", env=environment)

    def settle(self):
        """A person's profanity after its first day: an account, corrections on."""
        folders = self.home / "config" / "profanity", self.home / "data" / "profanity"
        for folder in folders:
            folder.mkdir(parents=True)
        (folders[0] / "profrc").write_text("[ui]\nsplash=false\nhistory=false\ncorrection.allow=true\n[connection]\naccount=bob\n")
        (folders[1] / "accounts").write_text(
            f"[bob]\nenabled=true\njid={self.world.user}\nserver=127.0.0.1\nport={self.world.ports['xmpp']}\ntls.policy=disable\n"
            f"resource=desk\npassword={self.world.password}\nmuc.nick=bob\n"
        )
        for folder in [self.home, *self.home.rglob("*")]:
            folder.chmod(0o700)

    def tmux(self, *words, env=None):
        done = subprocess.run(["tmux", "-S", self.socket, *words], capture_output=True, text=True, timeout=20, env=env, check=False)
        if done.returncode != 0:
            raise Failed(f"tmux {words[0]}: {done.stderr.strip()}")
        return done.stdout

    def screen(self):
        lines = self.tmux("capture-pane", "-p", "-t", "p").splitlines()
        # The last one is what is being typed.
        return "\n".join(line.rstrip() for line in lines[: HEIGHT - 1])

    def type(self, line):
        self.tmux("send-keys", "-t", "p", "-l", "--", line)
        self.tmux("send-keys", "-t", "p", "Enter")

    def see(self, *texts, within=30):
        """Waits until all of them stand on the screen; blanks and line ends count alike, for long lines are wrapped."""
        until = time.monotonic() + within
        while True:
            screen = self.screen()
            words = re.sub(r"\s+", " ", screen)
            missing = [text for text in texts if text not in words]
            if not missing:
                return screen
            if time.monotonic() > until:
                raise Failed(f"“{missing[0]}” did not come within {within} s. The screen:\n{screen}")
            time.sleep(0.1)

    def say(self, line, *texts):
        """Types a line and waits for what it brings."""
        self.type(line)
        return self.see(*texts)

    def window(self, name):
        """A window, by what its title begins with."""
        self.type(f"/win {name}")
        return self.see("Profanity. Type /help" if name == "1" else name)

    def shot(self, name):
        if self.shots:
            (self.shots / f"profanity-{name}.txt").write_text(self.screen() + "\n")

    def end(self):
        subprocess.run(["tmux", "-S", self.socket, "kill-server"], capture_output=True, timeout=20, check=False)


def discover_the_gateway(p):
    p.say("/disco items", "email.localhost", "irc.localhost", "sms.localhost")
    p.say("/disco info email.localhost", "Email smtp gateway", "jabber:iq:register")
    p.shot("discover")


def register(p):
    p.say("/msg email.localhost", "email.localhost [")
    p.say("help", "register – Register, or change your mail address")
    p.say("register", "Your name before the @")
    p.say("bob", "Name that is shown")
    p.say("Bob Builder", "Your mail address is bob@email.localhost.", "Authorization request")
    p.shot("register")
    p.type("/sub allow")
    p.say("/sub request", "email.localhost [online]")


def see_commands_and_run_one(p):
    # The answers stand in the gateway's own window, for there is one.
    p.say("/cmd list email.localhost", "Ad hoc commands:", "! contacts", "! usage", "! unregister")
    p.shot("commands")
    # A table is left empty by profanity; it shows the words beside it.
    p.say("/cmd exec usage email.localhost", "Configuration for room email.localhost.")
    p.type("/close")
    p.window("email.localhost")
    p.see("usage completed", "The limits start anew in")
    # By chat all of it is there.
    p.say("usage", "What: Mails; Used today: 0; Limit: 500")


def add_a_contact_by_its_foreign_address(p):
    p.say("contacts", "2. Add")
    p.say("add", "Address")
    p.say("carol@mail.localhost", "Address", "Name that is shown (“-”")
    p.say("Carol", "Groups, separated by commas (“-”")
    p.say("Friends", "carol@mail.localhost is among your contacts.")
    p.shot("contact")


def see_presence(p):
    p.say(f"/msg {p.world.contact}", "Authorization request")
    p.type("/sub allow")
    p.say("/sub request", "[online]")
    p.window("1")
    p.see("is online")


def send_and_get_a_text(p):
    p.say(f"/msg {p.world.contact} Hello Carol", "me: Hello Carol", "You said: Hello Carol")


def get_a_picture(p):
    screen = p.say("Please send me a picture", "You said: Please send me a picture", "/sea.png")
    link = re.search(r"http://\S+/sea\.png", screen)
    saved = p.world.folder / "saved.png"
    if link is None:
        raise Failed(f"the link is broken by the screen:\n{screen}")
    p.say(f"/url save {link[0]} {saved}", "Saved to")
    if saved.read_bytes() != people.picture():
        raise Failed("the picture that came is not the one that Carol sent")


def send_a_picture(p):
    picture = p.world.folder / "shore.png"
    picture.write_bytes(people.picture(120, 90))
    p.say(f"/sendfile {picture}", f"[shore.png, image/png, {picture.stat().st_size} bytes]")
    p.shot("pictures")


def join_a_room_and_see_occupants(p):
    p.say(f"/join {p.world.room}", "You have joined the room as bob", "Participants", "erin", "Where the messages cross")
    p.say("Hello, room", "bob: Hello, room", "erin: You said: Hello, room")
    p.say("/who", "2 occupants: ")


def change_nick(p):
    # The list of occupants shows it; profanity says nothing else.
    p.say("/nick bobby", "bobby")
    p.say("Now with another name", "bobby: Now with another name")


def correct_a_message(p):
    p.say("The ship leaves at nne", "erin: You said: The ship leaves at nne")
    p.say("/correct The ship leaves at nine", "erin: You said: * The ship leaves at nine")
    p.shot("room")
    # To a mail address it goes as a mail of its own, and the client marks the line.
    p.say(f"/win {p.world.contact}", "You said: Hello Carol")
    p.say("Until Mnday", "You said: Until Mnday")
    p.say("/correct Until Monday", "+ me: Until Monday", "You said: Correction: Until Monday")


def read_history_after_rejoining(p):
    p.say(f"/win {p.world.room}", "#lobby%demo [TLS]")
    for pause in (1, 2, 4, 8):
        p.say("/close", "Profanity. Type /help")
        # Where the answer to its leaving comes after it has asked to come in again, profanity thinks that it is outside: a pause, as of a person.
        time.sleep(pause)
        if "(null)" not in p.say(f"/join {p.world.room}", "You have joined the room as"):
            break
    p.see("bob: Hello, room", "erin: You said: * The ship leaves at nine")
    p.shot("history")


FLOWS = [
    discover_the_gateway,
    register,
    see_commands_and_run_one,
    add_a_contact_by_its_foreign_address,
    see_presence,
    send_and_get_a_text,
    get_a_picture,
    send_a_picture,
    join_a_room_and_see_occupants,
    change_nick,
    correct_a_message,
    read_history_after_rejoining,
]


def flows(world, shots, _modules):
    """Runs them in their order, for each needs what the one before has done; gives each one's name and seconds."""
    client = Profanity(world, shots)
    world.endings.append(client.end)
    client.see("logged in successfully")
    for flow in FLOWS:
        name = flow.__name__.replace("_", " ")
        begun = time.monotonic()
        try:
            flow(client)
        except Failed as error:
            raise Failed(f"{name}: {error}") from None
        yield name, time.monotonic() - begun
