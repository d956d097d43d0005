"""Starts converse.js's flows, and tells how they go."""

import json
import os
import signal
import subprocess

from world import ROOT, people

HERE = ROOT / "tests" / "clients"


class Failed(Exception):
    """What the person should have seen, and the page's words."""


def flows(world, shots, modules):
    """Gives each flow's name and seconds as it passes."""
    facts, picture = world.folder / "facts.json", world.folder / "shore.png"
    facts.write_text(json.dumps(world.facts()))
    picture.write_bytes(people.picture(120, 90))
    (world.folder / "browser").mkdir()
    command = ["node", HERE / "converse.js", facts, modules, shots or "", picture]
    environment = {**os.environ, "TMPDIR": str(world.folder / "browser")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    world.endings.append(lambda: end(process))
    said = []
    for line in process.stdout:
        if line.startswith("ok "):
            _, seconds, name = line.rstrip("\n").split(" ", 2)
            yield name, float(seconds)
        else:
            said.append(line)
    if process.wait() != 0:
        raise Failed("".join(said[-120:]).strip() or f"node ended with {process.returncode}")


def end(process):
    """It takes the browser with it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
