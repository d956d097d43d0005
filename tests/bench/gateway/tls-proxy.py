"""Ends TLS before the benchmark's IRC server: `tls-proxy.py CERTIFICATE IRC-PORT PORT-FILE PARENT`. Ends with its parent."""

import asyncio
import os
import ssl
import sys

CERTIFICATE, PORT, FILE, PARENT = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])


async def pipe(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def serve(reader, writer):
    try:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", PORT)
    except OSError:
        writer.close()
        return
    await asyncio.gather(pipe(reader, far_writer), pipe(far_reader, writer))


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context, backlog=4096, limit=16384)
    with open(FILE + ".new", "w", encoding="ascii") as file:
        file.write(str(server.sockets[0].getsockname()[1]))
    os.rename(FILE + ".new", FILE)
    while os.path.exists(f"/proc/{PARENT}"):
        await asyncio.sleep(1)
    os._exit(0)


asyncio.run(main())
