"""A Docker engine of the tests' own: its data, its socket, its network, and its end."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

PROGRAM = Path("/usr/sbin/dockerd")
POOL = "10.214.0.0/16"
START_SECONDS = 60.0
STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Daemon:
    """Where an engine is, and the bridge that its containers are on."""

    folder: Path
    bridge: str

    @property
    def host(self) -> str:
        """What DOCKER_HOST has to be."""
        return f"unix://{self.folder / 'docker.sock'}"

    def pid(self) -> int | None:
        """Return the running engine's process, or None if it has ended."""
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(int((self.folder / "pid").read_text()))
            if process.name() == PROGRAM.name and process.status() != psutil.STATUS_ZOMBIE:
                return process.pid
        return None


def usable() -> bool:
    """Tell whether an engine can be started here."""
    return PROGRAM.exists() and os.geteuid() == 0


def start(folder: Path, *, data: Path | None = None) -> Daemon:
    """Start an engine that shares nothing with another one on this machine.

    Its containers have a bridge of their own and no way to the world; firewall rules, which two engines
    would take from one another, are left as they are. Ports are published by its proxy.

    Parameters
    ----------
    folder : Path
        For all that it writes; with a short path, as there will be sockets in it.
    data : Path
        For images and containers, if elsewhere.
    """
    bridge = _bridge()
    daemon = Daemon(folder, bridge)
    _firewall("--insert")
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            [
                *(str(PROGRAM), "--host", daemon.host, "--data-root", str(data or folder / "data")),
                *("--exec-root", str(folder / "exec"), "--pidfile", str(folder / "pid")),
                *("--bridge", bridge, "--iptables=false", "--ip6tables=false", "--ip-forward=false"),
                # Two uploads at a time, and no waiting at the end for what a container still does.
                *("--ip-masq=false", "--shutdown-timeout", "2", "--log-level", "warn"),
                *("--default-address-pool", f"base={POOL},size=24"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    # When it ends before us, somebody must ask for its exit code, or it stays as a zombie.
    threading.Thread(target=child.wait, name=f"wait for {child.pid}", daemon=True).start()
    end = time.monotonic() + START_SECONDS
    while not (folder / "docker.sock").exists() or not _answers(daemon):
        if child.poll() is not None or time.monotonic() > end:
            stop(daemon)
            raise RuntimeError(f"dockerd doesn't start:\n{(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.05)
    return daemon


def stop(daemon: Daemon) -> None:
    """End an engine, its containers too, and remove all that it wrote."""
    kill(daemon, force=False)
    subprocess.run(["ip", "link", "delete", daemon.bridge], check=False, capture_output=True)
    _firewall("--delete")
    _unmount(daemon.folder)
    shutil.rmtree(daemon.folder, ignore_errors=True)


def kill(daemon: Daemon, *, force: bool) -> None:
    """End the engine's process and those it started, and leave its files."""
    pid = daemon.pid()
    if pid is None:
        return
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    if force:
        for member in family:
            with contextlib.suppress(psutil.Error):
                member.kill()
    else:
        process.terminate()
    _, alive = psutil.wait_procs(family, timeout=STOP_SECONDS)
    for member in alive:
        with contextlib.suppress(psutil.Error):
            member.kill()
    psutil.wait_procs(alive, timeout=STOP_SECONDS)


def _firewall(what: str) -> None:
    """Let the containers of a network reach each other, or no more.

    Another engine, of this machine or one that ran here once, may have let nothing through by default.
    """
    subprocess.run(
        ["iptables", "--wait", what, "FORWARD", "--source", POOL, "--destination", POOL, "--jump", "ACCEPT"],
        check=False,
        capture_output=True,
    )


def _answers(daemon: Daemon) -> bool:
    done = subprocess.run(
        ["/usr/bin/docker", "--host", daemon.host, "version"], capture_output=True, check=False
    )
    return done.returncode == 0


def _bridge() -> str:
    """Make a bridge with a network that this machine isn't in yet."""
    taken = {
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family.name == "AF_INET"
    }
    networks = ipaddress.IPv4Network("10.213.0.0/16").subnets(new_prefix=24)
    for number, network in enumerate(networks):
        gateway = str(network[1])
        name = f"mlops{number}"
        if gateway in taken:
            continue
        # Another test session may be about to take the same one.
        added = subprocess.run(
            ["ip", "link", "add", "name", name, "type", "bridge"], capture_output=True, check=False
        )
        if added.returncode == 0:
            subprocess.run(["ip", "address", "add", f"{gateway}/24", "dev", name], check=True)
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
            return name
    raise RuntimeError("no network is free for the engine's containers")


def _unmount(folder: Path) -> None:
    """Take away what an engine that was killed has left mounted."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
