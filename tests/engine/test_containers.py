"""Versions in real containers behind a real router, replaced, killed and misled."""

from __future__ import annotations

import datetime
import http.client
import json
import os
import signal
import socket
import ssl
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.engine import packages
from tests.load import Load
from utils import files, images, packaging, signatures, signing_keys
from utils.images.engines import Engine
from utils.packaging import Package
from utils.platforms.local.settings import Settings
from utils.platforms.local.targets import Handle, Site, Version
from utils.platforms.local.targets import engine as engines
from utils.platforms.local.targets.containers import Containers
from utils.platforms.protocol import PlatformError
from utils.signing_keys import SigningKey

pytestmark = pytest.mark.engine

KEYS = ("first-key-of-the-endpoint", "second-key-of-the-endpoint")
SECONDS = 60.0
ROW = [2.0]
BODY = json.dumps({"data": [ROW]}).encode()
WEIGHTS = (2.0, 3.0, 4.0)
PREDICTIONS = [[weight * ROW[0] + 5] for weight in WEIGHTS]


def built(package: Package, layers: Path, base_image: str) -> Version:
    folder = package.folder.with_name("image")
    image = images.build(package, folder=folder, cache=layers, base_image=base_image, engine="docker")
    return Version(package.digest, package.manifest.version, package.folder, image.reference)


@pytest.fixture(scope="session")
def signing_key() -> SigningKey:
    """The key that the packages of these tests are signed by."""
    return signing_keys.generate()


@pytest.fixture(scope="session")
def versions(
    base_image: str, layers: Path, signing_key: SigningKey, tmp_path_factory: pytest.TempPathFactory
) -> list[Version]:
    """Images of three versions, each with a model of its own."""
    folder = tmp_path_factory.mktemp("versions")
    made = []
    for number, weight in enumerate(WEIGHTS, 1):
        package = packages.make(folder / str(number) / "package", version=str(number), weight=weight)
        signatures.sign(package.folder, signing_key)
        made.append(built(package, layers, base_image))
    return made


@pytest.fixture(scope="session")
def wrong(
    base_image: str, layers: Path, signing_key: SigningKey, tmp_path_factory: pytest.TempPathFactory
) -> Version:
    """An image whose model doesn't predict what its package says, though it is whole and signed."""
    folder = tmp_path_factory.mktemp("wrong") / "package"
    packages.make(folder, version="4", weight=5.0)
    golden = files.read_json(folder / "golden.json")
    golden["expected"][0] += 1.0
    files.write_json(folder / "golden.json", golden)
    manifest = files.read_json(folder / "manifest.json")
    manifest["files"]["golden.json"] = files.sha256(folder / "golden.json")
    files.write_json(folder / "manifest.json", manifest)
    signatures.sign(folder, signing_key)
    return built(packaging.load(folder), layers, base_image)


@pytest.fixture
def site(tmp_path: Path, engine: Engine, router_image: str, signing_key: SigningKey) -> Site:
    """An environment of its own."""
    keys = tmp_path / "vault" / "keys"
    keys.parent.mkdir(mode=0o700)
    keys.write_text("\n".join(KEYS) + "\n")
    keys.chmod(0o600)
    folder = tmp_path / "services" / "diabetes" / "staging"
    folder.mkdir(parents=True)
    settings = Settings(target="containers", engine="docker", router_image=router_image)
    return Site("diabetes", "staging", folder, keys, signing_key.public_pem, settings)


@pytest.fixture
def containers(site: Site) -> Iterator[Containers]:
    """A target that has nothing running yet, and has nothing afterwards."""
    target = Containers(site)
    yield target
    target.clear()


def started(containers: Containers, version: Version) -> Handle:
    handle = containers.start(version)
    containers.wait(handle, SECONDS)
    return handle


def ask(url: str, path: str = "/health/ready", **headers: str) -> tuple[int, Any, http.client.HTTPMessage]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    try:
        connection.request("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        response = connection.getresponse()
        return response.status, json.loads(response.read()), response.headers
    finally:
        connection.close()


def until(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "It has not come in time."
        time.sleep(0.02)


def pid(engine: Engine, name: str) -> int:
    return int(engines.inspect(engine, [name])[name]["State"]["Pid"])


def router(containers: Containers, handle: Handle) -> str:
    return str(containers.details(handle)["router"])


def place(engine: Engine, handle: Handle) -> dict[str, str]:
    """By what a site's containers are found: others may use the same engine now."""
    labels = next(iter(engines.inspect(engine, handle["containers"]).values()))["Config"]["Labels"]
    return {"mlops-notebooks.place": labels["mlops-notebooks.place"]}


# ------------------------------------------------------------------ versions


def test_a_version_is_started_led_to_and_ended(
    containers: Containers, versions: Sequence[Version], engine: Engine
) -> None:
    handle = started(containers, versions[0])

    assert json.loads(json.dumps(handle)) == handle
    assert containers.alive(handle)
    assert containers.ready(handle)
    url = containers.route([(handle, 100)])
    status, answer, _ = ask(url)
    assert (status, answer["digest"]) == (200, versions[0].digest)
    details = containers.details(handle)
    assert [each["state"] for each in details["containers"]] == ["running", "running"]
    assert details["image"] == versions[0].image

    containers.stop(handle)
    assert not containers.alive(handle)
    assert not containers.ready(handle)
    containers.stop(handle)  # once more is no error
    assert [each["state"] for each in containers.details(handle)["containers"]] == ["gone", "gone"]
    assert ask(url)[0] == 503


def test_clearing_finds_everything_without_a_record_and_nothing_of_others(
    containers: Containers, site: Site, versions: Sequence[Version], engine: Engine, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "other" / "staging"
    elsewhere.mkdir(parents=True)
    other = Containers(replace(site, folder=elsewhere))
    handle = started(containers, versions[0])
    containers.route([(handle, 100)])
    kept = other.start(versions[0])
    ours, theirs = (place(engine, each) for each in (handle, kept))
    try:
        assert len(engines.labelled(engine, ours)) == 3  # two replicas, one router
        Containers(site).clear()

        assert engines.labelled(engine, ours) == []
        assert not (site.folder / "containers").exists()
        assert other.alive(kept)
    finally:
        other.clear()
    assert engines.labelled(engine, theirs) == []
    networks = engine.run("network", "ls", "--format", "{{.Labels}}").stdout
    assert not any(value in networks for value in (*ours.values(), *theirs.values()))


def test_the_address_stays_over_deployments_and_removals(
    containers: Containers, site: Site, versions: Sequence[Version]
) -> None:
    first = containers.route([(started(containers, versions[0]), 100)])
    assert containers.route([(started(containers, versions[1]), 100)]) == first
    containers.clear()
    again = Containers(replace(site, port=int(first.rpartition(":")[2])))
    assert again.route([(started(again, versions[0]), 100)]) == first


def test_a_version_with_wrong_golden_rows_never_takes_a_request_and_says_why(
    containers: Containers, versions: Sequence[Version], wrong: Version
) -> None:
    live = started(containers, versions[0])
    url = containers.route([(live, 100)])
    bad = containers.start(wrong)

    with pytest.raises(PlatformError, match=r"ended with exit code 1; its log ends with:(.|\n)*golden"):
        containers.wait(bad, SECONDS)

    assert not containers.ready(bad)
    with pytest.raises(PlatformError, match="doesn't run"):
        containers.route([(bad, 100)])
    assert ask(url)[1]["digest"] == versions[0].digest


def test_a_version_that_another_key_has_signed_does_not_start(
    site: Site, versions: Sequence[Version]
) -> None:
    strict = Containers(replace(site, public_keys=signing_keys.generate().public_pem))
    try:
        with pytest.raises(
            PlatformError, match=r"ended with exit code 1; its log ends with:(.|\n)*by another key"
        ):
            strict.wait(strict.start(versions[0]), SECONDS)
    finally:
        strict.clear()


def test_too_little_memory_is_told_as_that(site: Site, versions: Sequence[Version]) -> None:
    settings = site.settings.model_copy(update={"memory": "8m", "replicas": 1})
    small = Containers(replace(site, settings=settings))
    handle = small.start(versions[0])
    try:
        with pytest.raises(
            PlatformError, match=r"needed more than its 8 MB of memory: raise serving\.memory"
        ):
            small.wait(handle, SECONDS)
    finally:
        small.clear()


def test_an_image_that_is_nowhere_and_an_engine_that_is_gone_are_told(
    containers: Containers, versions: Sequence[Version], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    absent = Version("f" * 64, "9", versions[0].folder, f"sha256:{'f' * 64}")
    with pytest.raises(PlatformError, match=r"has no image sha256:ffff.*run the package step again"):
        containers.start(absent)
    with pytest.raises(PlatformError, match="has no image, as it was packaged for another target"):
        containers.start(Version("f" * 64, "9", versions[0].folder))
    handle = started(containers, versions[0])
    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{tmp_path}/gone.sock")
        for call in (containers.alive, containers.ready, containers.stop):
            with pytest.raises(PlatformError, match="engine doesn't answer any more: start it"):
                call(handle)
    assert containers.alive(handle)


# ------------------------------------------------------------------ routes


def test_replacing_versions_under_load_loses_nothing(
    containers: Containers, versions: Sequence[Version]
) -> None:
    live = started(containers, versions[0])
    url = containers.route([(live, 100)]) + "/score"
    with (
        Load(url, BODY, KEYS[0], expected=PREDICTIONS, connections=3, rate=150) as kept,
        Load(url, BODY, KEYS[1], expected=PREDICTIONS, connections=3, rate=100, keep_alive=False) as fresh,
    ):
        for version in (*versions[1:], versions[0]):
            kept.wait(100)
            fresh.wait(100)
            new = started(containers, version)
            containers.route([(new, 100)])
            containers.stop(live)
            live = new
        kept.wait(100)
        fresh.wait(100)

    for counts in (kept.counts, fresh.counts):
        assert not counts.lost, counts.faults
        assert not counts.wrong
        assert set(counts.answered) == {200}, counts.faults


def test_nobody_gets_to_the_version_before_once_the_route_has_changed(
    containers: Containers, versions: Sequence[Version]
) -> None:
    old = started(containers, versions[0])
    url = containers.route([(old, 100)])
    parts = urlsplit(url)
    idle = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
    idle.request("GET", "/health/ready")
    assert json.loads(idle.getresponse().read())["digest"] == versions[0].digest
    new = started(containers, versions[1])

    containers.route([(new, 100)])

    # The client that said nothing was let go, and finds the new version by a new connection.
    assert idle.sock is not None
    idle.sock.settimeout(1.0)  # it is over already
    assert idle.sock.recv(1) == b""
    idle.close()
    assert {ask(url)[1]["digest"] for _ in range(50)} == {versions[1].digest}
    assert containers.ready(old)


def test_a_canary_gets_its_share_on_any_connection(
    containers: Containers, versions: Sequence[Version]
) -> None:
    old, new = started(containers, versions[0]), started(containers, versions[1])
    url = urlsplit(containers.route([(new, 10), (old, 90)]))
    connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=30)
    answered: Counter[str] = Counter()
    for _ in range(3000):
        connection.request("GET", "/health/ready")
        answered[json.loads(connection.getresponse().read())["digest"]] += 1
    connection.close()

    # Five standard deviations of a binomial distribution: sqrt(3000 * 0.1 * 0.9) = 16.4.
    assert abs(answered[versions[1].digest] - 300) < 83, answered
    assert answered.total() == 3000


def test_the_header_chooses_a_version_and_one_that_is_not_served_is_refused(
    containers: Containers, versions: Sequence[Version]
) -> None:
    old, new = started(containers, versions[0]), started(containers, versions[1])
    url = containers.route([(new, 0), (old, 100)])

    for version in versions[:2]:
        for _ in range(10):
            status, answer, headers = ask(url, x_scoring_version=version.digest[:12])
            assert (status, answer["digest"]) == (200, version.digest)
            assert headers["x-scoring-version"] == version.digest[:12]
    assert {ask(url)[1]["digest"] for _ in range(20)} == {versions[0].digest}
    status, answer, _ = ask(url, x_scoring_version=versions[2].digest[:12])
    assert (status, answer["error"]) == (404, "No version of this x-scoring-version is served.")


def test_shares_that_make_no_sense_are_refused(containers: Containers, versions: Sequence[Version]) -> None:
    handle = started(containers, versions[0])
    for shares in ([], [(handle, 90)], [(handle, 110), (handle, -10)]):
        with pytest.raises(PlatformError, match="don't sum up to 100"):
            containers.route(shares)
    with pytest.raises(PlatformError, match="the same package"):
        containers.route([(handle, 90), (handle, 10)])


def test_a_version_that_the_router_does_not_reach_leaves_the_route_as_it_was(
    containers: Containers, site: Site, versions: Sequence[Version], engine: Engine
) -> None:
    url = containers.route([(started(containers, versions[0]), 100)])
    before = (site.folder / "containers" / "router" / "haproxy.cfg").read_text()
    cut_off = started(containers, versions[1])
    network = next(iter(engines.inspect(engine, cut_off["containers"]).values()))["NetworkSettings"][
        "Networks"
    ]
    for name in cut_off["containers"]:
        engines.do(engine, "cut it off", "network", "disconnect", *network, name)

    with pytest.raises(PlatformError, match=r"HAProxy refuses it(.|\n)*could not resolve"):
        containers.route([(cut_off, 100)])

    assert ask(url)[1]["digest"] == versions[0].digest
    assert (site.folder / "containers" / "router" / "haproxy.cfg").read_text() == before


def test_a_port_that_another_program_has_is_told(site: Site, versions: Sequence[Version]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        containers = Containers(replace(site, port=port))
        try:
            handle = started(containers, versions[0])
            with pytest.raises(PlatformError, match=f"The port {port} .* is taken by another program"):
                containers.route([(handle, 100)])
            taken.close()
            assert containers.route([(handle, 100)]) == f"http://127.0.0.1:{port}"
        finally:
            containers.clear()


def test_a_slow_client_is_let_go(containers: Containers, versions: Sequence[Version]) -> None:
    url = urlsplit(containers.route([(started(containers, versions[0]), 100)]))
    with socket.create_connection((str(url.hostname), url.port), 60) as client:
        client.sendall(b"POST /score HTTP/1.1\r\nhost: here\r\nx-never: end")
        assert client.recv(1000).startswith(b"HTTP/1.1 408 ")


def test_the_log_of_the_router_tells_requests_without_their_query(
    containers: Containers, versions: Sequence[Version], engine: Engine
) -> None:
    handle = started(containers, versions[0])
    url = containers.route([(handle, 100)])
    ask(url, "/health/ready?secret=1", authorization=f"Bearer {KEYS[0]}", x_request_id='a"b\\c')

    def lines() -> list[dict[str, Any]]:
        told = engine.run("logs", router(containers, handle)).stdout
        return [json.loads(line) for line in told.splitlines() if line.startswith("{")]

    until(lambda: any(line["id"].startswith("a") for line in lines()))
    line = next(line for line in lines() if line["id"].startswith("a"))
    assert (line["method"], line["path"], line["status"]) == ("GET", "/health/ready", 200)
    assert line["version"] == versions[0].digest[:12]
    told = engine.run("logs", router(containers, handle))
    assert "secret" not in told.stdout + told.stderr
    assert KEYS[0] not in told.stdout + told.stderr
    status, metrics = _metrics(containers, handle)
    assert status == 200
    assert f'haproxy_backend_http_requests_total{{proxy="{versions[0].digest[:12]}"}}' in metrics


def _metrics(containers: Containers, handle: Handle) -> tuple[int, str]:
    parts = urlsplit(containers.details(handle)["metrics"])
    assert parts.hostname == "127.0.0.1"
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    connection.request("GET", parts.path)
    response = connection.getresponse()
    content = response.read().decode()
    connection.close()
    return response.status, content


# ------------------------------------------------------------------ faults


def test_a_killed_container_costs_at_most_what_it_had_and_comes_back(
    containers: Containers, versions: Sequence[Version], engine: Engine
) -> None:
    handle = started(containers, versions[0])
    url = containers.route([(handle, 100)]) + "/score"
    with (
        Load(url, BODY, KEYS[0], connections=3, rate=150) as kept,
        Load(url, BODY, KEYS[0], connections=3, rate=100, keep_alive=False) as fresh,
    ):
        kept.wait(100)
        # As a crash: what somebody kills by `docker kill` is not started again.
        os.kill(pid(engine, handle["containers"][0]), signal.SIGKILL)
        # Whether it wasn't ready in between nobody may have seen: it can be back at once.
        until(lambda: containers.details(handle)["containers"][0]["restarts"] == 1)
        assert containers.alive(handle)
        until(lambda: containers.ready(handle))
        kept.wait(300)
        fresh.wait(100)

    for counts in (kept.counts, fresh.counts):
        # One a connection can have been under way; the router tells its end by a 502.
        assert counts.lost.total() + counts.answered[502] <= 3, counts.faults
        assert set(counts.answered) <= {200, 502}, counts.faults


def test_a_killed_router_comes_back_on_its_address_with_its_route(
    containers: Containers, versions: Sequence[Version], engine: Engine
) -> None:
    old, new = started(containers, versions[0]), started(containers, versions[1])
    url = containers.route([(old, 100)])
    containers.route([(new, 100)])
    os.kill(pid(engine, router(containers, new)), signal.SIGKILL)

    def answers() -> bool:
        try:
            return ask(url)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    until(lambda: not answers())
    until(answers)
    assert ask(url)[1]["digest"] == versions[1].digest
    assert containers.route([(old, 100)]) == url
    assert ask(url)[1]["digest"] == versions[0].digest


# ------------------------------------------------------------------ protection


def test_keys_are_asked_for_and_can_be_replaced_without_a_restart(
    containers: Containers, site: Site, versions: Sequence[Version]
) -> None:
    url = urlsplit(containers.route([(started(containers, versions[0]), 100)]))

    def score(key: str) -> int:
        connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=30)
        headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        connection.request("POST", "/score", BODY, headers)
        try:
            return connection.getresponse().status
        finally:
            connection.close()

    assert [score(key) for key in (*KEYS, "another")] == [200, 200, 401]
    site.keys.write_text(f"a-new-key-of-the-endpoint\n{KEYS[1]}\n")
    containers.refresh_keys()
    until(lambda: all(score("a-new-key-of-the-endpoint") == 200 for _ in range(8)))
    until(lambda: all(score(KEYS[0]) == 401 for _ in range(8)))
    assert score(KEYS[1]) == 200


def test_keys_are_private_on_this_machine_and_not_in_what_the_engine_tells(
    containers: Containers, site: Site, versions: Sequence[Version], engine: Engine
) -> None:
    handle = started(containers, versions[0])
    containers.route([(handle, 100)])

    for name in (*handle["containers"], router(containers, handle)):
        told = engine.run("container", "inspect", name).stdout + engine.run("top", name, "-ef").stdout
        assert not any(key in told for key in KEYS)
    # Whoever isn't us doesn't get below this folder, whatever the modes are there.
    assert stat.S_IMODE((site.folder / "containers").stat().st_mode) == 0o700
    mounts = engines.inspect(engine, handle["containers"])[handle["containers"][0]]["Mounts"]
    assert [(each["Destination"], each["RW"]) for each in mounts if each["Type"] == "bind"] == [
        ("/run/scoring", False)
    ]


def test_containers_run_with_no_rights_and_nothing_to_write_to(
    containers: Containers, versions: Sequence[Version], engine: Engine
) -> None:
    handle = started(containers, versions[0])
    containers.route([(handle, 100)])
    name = handle["containers"][0]

    for each in (name, router(containers, handle)):
        told = engines.inspect(engine, [each])[each]["HostConfig"]
        assert told["ReadonlyRootfs"]
        assert told["CapDrop"] == ["ALL"]
        assert told["SecurityOpt"] == ["no-new-privileges"]
        assert told["RestartPolicy"]["Name"] == ("unless-stopped" if each == name else "always")
        assert told["Memory"] == told["MemorySwap"] > 0
        assert told["PidsLimit"] > 0
        assert not told["Privileged"]
        status = Path(f"/proc/{pid(engine, each)}/status").read_text()
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert (facts["CapEff"], facts["NoNewPrivs"]) == ("0" * 16, "1")
        assert facts["Uid"].split() == ["65532"] * 4
    write = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('x')"
    for path in ("/x", "/run/scoring/keys", "/run/scoring/x", "/usr/x"):
        assert engine.run("exec", name, "python3", "-S", "-c", write, path).returncode != 0
    assert engine.run("exec", name, "python3", "-S", "-c", write, "/tmp/x").returncode == 0
    assert not engines.inspect(engine, [name])[name]["NetworkSettings"]["Ports"].get("5001/tcp")


def test_with_a_certificate_the_address_is_https(
    site: Site, versions: Sequence[Version], tmp_path: Path
) -> None:
    settings = site.settings.model_copy(update={"certificate": str(_certificate(tmp_path / "site.pem"))})
    containers = Containers(replace(site, settings=settings))
    try:
        handle = started(containers, versions[0])
        url = urlsplit(containers.route([(handle, 100)]))
        assert url.scheme == "https"
        trust = ssl.create_default_context(cafile=str(tmp_path / "site.pem"))
        connection = http.client.HTTPSConnection("127.0.0.1", url.port, context=trust, timeout=30)
        connection.request("GET", "/health/ready")
        response = connection.getresponse()
        assert response.status == 200
        assert "max-age=" in response.headers["strict-transport-security"]
        response.read()
        connection.close()
        assert containers.route([(started(containers, versions[1]), 100)]) == url.geturl()
        trust.maximum_version = ssl.TLSVersion.TLSv1_2
        with (
            socket.create_connection(("127.0.0.1", url.port or 0), 30) as plain,
            trust.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        ):
            assert secure.version() == "TLSv1.2"
        with socket.create_connection(("127.0.0.1", url.port or 0), 30) as plain:
            plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert b" 200 " not in plain.recv(1000)
        assert stat.S_IMODE((site.folder / "containers").stat().st_mode) == 0o700

        (tmp_path / "site.pem").write_text("no certificate")
        with pytest.raises(PlatformError, match="HAProxy refuses it"):
            containers.route([(handle, 100)])
        connection.request("GET", "/health/ready")
        assert connection.getresponse().status == 200
        connection.close()
    finally:
        containers.clear()


def _certificate(path: Path) -> Path:
    """Write a certificate for 127.0.0.1 that it has signed itself, and its key."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "scoring")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + secret)
    return path
