"""Azurite, Microsoft's storage emulator, as the blob store of the sandbox."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from tests.azure import certificates, names
from utils import project

FOLDER = project.root() / ".azurite"
PROGRAM = FOLDER / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
# Of no account but the emulator's, which lives as long as a test.
ACCOUNT_KEY = "bm8gc2VjcmV0LCBmb3IgdGhlIHN0b3JhZ2UgZW11bGF0b3Igb2YgdGhlIHRlc3RzIGFsb25l"
_SECONDS = 60


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Start it with the sandbox's certificate; return its process once it answers.

    Parameters
    ----------
    folder : Path
        The sandbox's, which has the certificate and gets the blobs.

    Raises
    ------
    RuntimeError
        If it ends or doesn't answer.
    """
    log = folder / "azurite.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["node", str(PROGRAM), "--blobHost", names.BLOBS, "--blobPort", "443",
             "--location", str(folder / "blobs"),
             "--cert", str(folder / certificates.CERTIFICATE), "--key", str(folder / certificates.KEY),
             "--silent", "--disableTelemetry", "--skipApiVersionCheck", "--loose"],
            env={**os.environ, "AZURITE_ACCOUNTS": f"{names.ACCOUNT}:{ACCOUNT_KEY}"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    until = time.monotonic() + _SECONDS
    while process.poll() is None and time.monotonic() < until:
        with suppress(OSError), socket.create_connection((names.BLOBS, 443), timeout=1):
            return process
        time.sleep(0.05)
    process.kill()
    raise RuntimeError(f"azurite doesn't answer: {log.read_text(errors='replace')[-2000:]}")
