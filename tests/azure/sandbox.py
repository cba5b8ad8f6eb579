"""A network namespace in which Azure's names lead to loopback, and no other address can be reached.

`python -m tests.azure.sandbox -- <command>` runs a command in it. The command's environment says where it
is by FOLDER; unless it is pytest, the cloud of `tests.azure.cloud` is started around it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.azure import certificates, resolver

FOLDER = "MLOPS_AZURE_SANDBOX"
LOOKUPS = "lookups"
# What would make a process trust, ask or show something else than the sandbox's own.
_FOREIGN = ("AZURE", "ARM_", "MSI_", "IDENTITY_", "MLOPS_", "MLFLOW_", "SSL_CERT", "CURL_CA", "REQUESTS_CA",
            "NODE_EXTRA_CA", "http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY",
            "ALL_PROXY")  # fmt: skip


def possible() -> str:
    """Return "" where a sandbox can be made, or else why not."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return "unshare and ip are needed (Debian: util-linux, iproute2)"
    tried = subprocess.run(
        ["unshare", "-rnm", "ip", "link", "set", "lo", "up"], capture_output=True, text=True, check=False
    )
    return "" if tried.returncode == 0 else f"no network namespace can be made: {tried.stderr.strip()}"


def run(
    command: Sequence[str], folder: Path, environ: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a command in a sandbox of its own.

    Parameters
    ----------
    folder : Path
        An empty one, for the sandbox's files.
    environ : mapping, optional
        Further variables for the command.

    Returns
    -------
    Popen
        Of the sandbox, whose output is the command's. When it is terminated, the command is too.
    """
    (folder / "home").mkdir()
    certificates.make(folder)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    authority = str(folder / certificates.AUTHORITY)
    return subprocess.Popen(
        ["unshare", "-rnm", sys.executable, "-m", "tests.azure.sandbox", "--inside", str(folder), *command],
        env={
            **kept,
            **(environ or {}),
            FOLDER: str(folder),
            "HOME": str(folder / "home"),
            "SSL_CERT_FILE": authority,
            "REQUESTS_CA_BUNDLE": authority,
            "CURL_CA_BUNDLE": authority,
            "NODE_EXTRA_CA_CERTS": authority,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _inside(folder: Path, command: list[str]) -> int:
    """Set up the namespace that this process is in, and run the command."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for name, content in (
        ("hosts", "127.0.0.1 localhost\n"),
        ("resolv.conf", "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n"),
        ("nsswitch.conf", "hosts: files dns\n"),
    ):
        (folder / name).write_text(content)
        subprocess.run(["mount", "--bind", str(folder / name), f"/etc/{name}"], check=True)
    (folder / LOOKUPS).touch()
    resolver.serve(folder / LOOKUPS)
    process = subprocess.Popen(command)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: process.send_signal(number))
    return process.wait()


def main() -> int:
    """Run a command in a sandbox, or, inside of one already, set it up."""
    words = sys.argv[1:]
    if words[:1] == ["--inside"]:
        return _inside(Path(words[1]), words[2:])
    log = words[1] if words[:1] == ["--log"] else ""
    command = words[words.index("--") + 1 :]
    if "pytest" not in command:
        command = [
            command[0] if "python" in command[0] else sys.executable,
            "-m",
            "tests.azure.cloud",
            log,
            *command,
        ]
    with tempfile.TemporaryDirectory(prefix="azure-") as folder:
        process = run(command, Path(folder))
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
        return process.wait()


if __name__ == "__main__":
    sys.exit(main())
