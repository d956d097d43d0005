"""The people on the other networks. Each answers whatever they are told, so that there is somebody to talk to."""

import asyncio
import contextlib
import email
import email.policy
import imaplib
import smtplib
import struct
import urllib.parse
import zlib
from email.message import EmailMessage


def answer(text):
    """What each of them says to a text."""
    return f"You said: {text}"


def picture(width=240, height=150):
    """A PNG of a sun over the sea."""
    def colour(x, y):
        sea = y > height * 2 // 3
        sun = (x - width // 2) ** 2 + (y - height // 2) ** 2 < (height // 4) ** 2
        return (250, 240, 150) if sun and not sea else (20, 80 + y // 4, 120) if sea else (250, 90 + y, 60 + y // 2)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"".join(bytes(colour(x, y)) for x in range(width)) for y in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Person:
    """Tells `heard(text)` what reached them."""

    def __init__(self, heard):
        self.heard = heard


class OnIrc(Person):
    """An IRC client of a few lines: joins one channel, answers there and in private."""

    def __init__(self, port, nick, channel, heard):
        super().__init__(heard)
        self.port, self.nick, self.channel = port, nick, channel

    async def run(self, ready):
        reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.line(f"NICK {self.nick}")
        self.line(f"USER {self.nick} 0 * :A person on IRC")
        while raw := await reader.readline():
            self.on_line(raw.decode(errors="replace").rstrip("\r\n"), ready)

    def line(self, text):
        self.writer.write(text.encode() + b"\r\n")

    def on_line(self, line, ready):
        words = line.split(" ")
        if words[0] == "PING":
            self.line("PONG " + " ".join(words[1:]))
        elif len(words) > 1 and words[1] == "001":
            self.line(f"JOIN {self.channel}")
        elif len(words) > 1 and words[1] == "366":
            ready.set()
        elif len(words) > 3 and words[1] == "PRIVMSG":
            self.on_text(words[0][1:].split("!")[0], words[2], line.split(" ", 3)[3].removeprefix(":"))

    def on_text(self, sender, target, text):
        if text.startswith("\x01"):
            return
        self.heard(text)
        self.line(f"PRIVMSG {target if target.startswith('#') else sender} :{answer(text)}")


class OnPhone(Person):
    """A telephone network for Kannel's SMSC of kind `fake`: lines of `sender receiver text words`."""

    def __init__(self, port, number, heard):
        super().__init__(heard)
        self.port, self.number = port, number

    async def run(self, ready):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        ready.set()
        while raw := await reader.readline():
            words = raw.decode(errors="replace").strip().split(" ", 3)
            if len(words) == 4 and words[2] in ("text", "data"):
                sender, receiver, kind, text = words
                # `data` is for what is not plain ASCII, and form-encoded.
                text = urllib.parse.unquote_plus(text) if kind == "data" else text
                self.heard(text)
                reply = " ".join(answer(text).split()).encode("ascii", "replace")[:160]
                writer.write(f"{receiver} {sender} text ".encode() + reply + b"\n")


class WithMail(Person):
    """Reads a mailbox by IMAP every half second and answers by SMTP; who asks for a picture gets one."""

    def __init__(self, imap, smtp, address, password, heard):
        super().__init__(heard)
        self.imap, self.smtp, self.address, self.password = imap, smtp, address, password

    async def run(self, ready):
        box = await asyncio.to_thread(self.open)
        ready.set()
        while True:
            for mail in await asyncio.to_thread(self.unread, box):
                words = mail.get_body(("plain",))
                text = words.get_content().strip() if words else ""
                for part in mail.iter_attachments():
                    size = len(part.get_payload(decode=True) or b"")
                    text += f"\n[{part.get_filename()}, {part.get_content_type()}, {size} bytes]"
                self.heard(text)
                if mail.get("Auto-Submitted", "no") == "no":
                    await asyncio.to_thread(self.reply, mail, text)
            await asyncio.sleep(0.5)

    def open(self):
        box = imaplib.IMAP4("127.0.0.1", self.imap)
        box.login(self.address, self.password)
        box.select("INBOX")
        return box

    @staticmethod
    def unread(box):
        box.noop()
        found = box.search(None, "UNSEEN")[1][0].split()
        texts = [box.fetch(number, "(RFC822)")[1][0][1] for number in found]
        return [email.message_from_bytes(text, policy=email.policy.default) for text in texts]

    def reply(self, mail, text):
        reply = EmailMessage()
        reply["From"] = f"Carol <{self.address}>"
        reply["To"] = str(mail["From"])
        subject = str(mail.get("Subject", ""))
        reply["Subject"] = subject if subject.lower().startswith("re:") else f"Re: {subject}"
        reply["In-Reply-To"] = reply["References"] = str(mail["Message-ID"])
        reply["Message-ID"] = email.utils.make_msgid(domain="mail.localhost")
        reply["Date"] = email.utils.formatdate()
        reply.set_content(answer(text))
        if "picture" in text:
            reply.add_attachment(picture(), "image", "png", filename="sea.png")
        with smtplib.SMTP("127.0.0.1", self.smtp) as relay:
            relay.send_message(reply, self.address)


@contextlib.asynccontextmanager
async def all_of(people):
    """Everybody in their place for as long as this lasts."""
    tasks = []
    try:
        for person in people:
            ready = asyncio.Event()
            task = asyncio.create_task(person.run(ready))
            tasks.append(task)
            waiting = asyncio.create_task(ready.wait())
            await asyncio.wait({task, waiting}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if task.done():
                task.result()
            if not ready.is_set():
                raise RuntimeError(f"{type(person).__name__} does not get to their place")
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
