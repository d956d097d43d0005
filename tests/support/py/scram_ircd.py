"""A server of IRC that knows one account, by SCRAM-SHA-256 as the library scramp has it (RFC 5802, 7677), and nothing else of services.

Arguments: account, password, and how it behaves: `honest`; `liar` (its proof of knowing the password is wrong, but it says that all is well); `mute`
(it gives no proof at all and says that all is well). It prints its port, and then each end of a login.
"""

import asyncio
import base64
import sys

import scramp

ACCOUNT, PASSWORD, WAY = sys.argv[1:4]
MECHANISM = scramp.ScramMechanism("SCRAM-SHA-256")
KEPT = MECHANISM.make_auth_info(PASSWORD)


def known(account):
    if account != ACCOUNT:
        raise scramp.ScramException("unknown account")
    return KEPT


class Client:
    def __init__(self, reader, writer):
        self.reader, self.writer, self.nick, self.login, self.proved = reader, writer, "*", None, False

    def say(self, line):
        self.writer.write(f":irc.test {line}\r\n".encode())

    def challenge(self, text):
        self.writer.write(f"AUTHENTICATE {base64.b64encode(text.encode()).decode()}\r\n".encode())

    def well(self):
        print(f"in {self.nick}", flush=True)
        self.say(f"900 {self.nick} {self.nick}!u@h {ACCOUNT} :You are now logged in as {ACCOUNT}")
        self.say(f"903 {self.nick} :SASL authentication successful")

    def authenticate(self, word):
        if self.login is None:
            # Those who bind to a channel would have asked for the other one.
            if word != "SCRAM-SHA-256":
                return self.refuse(f"{word} was asked for")
            self.login = MECHANISM.make_server(known)
            self.writer.write(b"AUTHENTICATE +\r\n")
        elif self.proved:
            self.well() if word == "+" else self.refuse("the client gave up")
        elif self.login.stage is None:
            self.login.set_client_first(base64.b64decode(word).decode())
            self.challenge(self.login.get_server_first())
        else:
            self.login.set_client_final(base64.b64decode(word).decode())
            final, self.proved = self.login.get_server_final(), True
            if WAY == "mute":
                self.well()
            elif WAY == "liar":
                self.challenge("v=" + base64.b64encode(bytes(32)).decode())
                self.well()
            else:
                self.challenge(final)

    def refuse(self, why):
        print(f"out {self.nick} {why}", flush=True)
        self.login, self.proved = None, False
        self.say(f"904 {self.nick} :SASL authentication failed")

    def on(self, command, words):
        if command == "CAP" and words[0] == "LS":
            self.say("CAP * LS :sasl=SCRAM-SHA-256-PLUS,SCRAM-SHA-256,PLAIN")
        elif command == "CAP" and words[0] == "REQ":
            self.say("CAP * ACK :" + " ".join(words[1:]).lstrip(":"))
        elif command == "CAP" and words[0] == "END":
            self.say(f"001 {self.nick} :Welcome {self.nick}")
            self.say(f"005 {self.nick} CHANTYPES=# PREFIX=(ov)@+ :are supported by this server")
            self.say(f"422 {self.nick} :No message of the day")
        elif command == "NICK":
            self.nick = words[0]
        elif command == "AUTHENTICATE":
            try:
                self.authenticate(words[0])
            except Exception as error:  # whatever scramp says of it, the login is refused
                self.refuse(error)
        elif command == "JOIN":
            self.writer.write(f":{self.nick}!u@h JOIN {words[0]}\r\n".encode())
            self.say(f"353 {self.nick} = {words[0]} :@{self.nick}")
            self.say(f"366 {self.nick} {words[0]} :End of NAMES")
        elif command == "PING":
            self.say(f"PONG irc.test {words[0]}")

    async def serve(self):
        while line := await self.reader.readline():
            words = line.decode().split()
            if words:
                self.on(words[0].upper(), words[1:])
                await self.writer.drain()
        self.writer.close()


async def main():
    server = await asyncio.start_server(lambda r, w: Client(r, w).serve(), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
