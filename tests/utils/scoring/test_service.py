"""The service as processes: started, tampered with, starved, killed, handed over; and nothing is lost."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.utils.scoring.conftest import GOOD, KEY, OTHER_KEY, Service, body_of, until
from utils import files, packaging, service_checks
from utils.packaging import Package
from utils.platforms.protocol import Endpoint
from utils.scoring import control

Start = Callable[..., Service]
BODY = body_of(GOOD)


def _metrics(service: Service) -> dict[str, float]:
    lines = service.ask("GET", "/metrics").body.decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


# ------------------------------------------------------------------ starting and ending


def test_the_service_passes_every_check_and_leaves_its_package_as_it_was(package: Path, start: Start) -> None:
    service = start(package)
    endpoint = Endpoint("staging", "demo", f"http://127.0.0.1:{service.port}", "", "3", confirmed=False)
    service_checks.demand(service_checks.check(endpoint, packaging.load(package), requests=20))
    assert service.end() == 0
    assert service.errors == ""
    packaging.verify(package)
    assert len(service.log) > 30
    assert not service.control.exists()


def test_a_service_with_keys_passes_every_check_and_takes_new_ones(
    package: Path, start: Start, tmp_path: Path
) -> None:
    keys = files.write_text(tmp_path / "keys", KEY)
    service = start(package, SCORING_KEYS_FILE=str(keys), SCORING_REQUIRE_KEYS="1")
    endpoint = Endpoint("staging", "demo", f"http://127.0.0.1:{service.port}", "", "3", confirmed=False)
    checked = service_checks.check(endpoint, packaging.load(package), requests=20, key=KEY)
    service_checks.demand(checked)
    files.write_text(keys, f"{KEY}\n{OTHER_KEY}")
    new: dict[str, Any] = {"Authorization": f"Bearer {OTHER_KEY}"}
    old: dict[str, Any] = {"Authorization": f"Bearer {KEY}"}
    until(lambda: service.ask(body=BODY, **new).status == 200, 10)
    assert service.ask(body=BODY, **old).status == 200
    files.write_text(keys, OTHER_KEY)
    until(lambda: service.ask(body=BODY, **old).status == 401, 10)
    assert service.ask(body=BODY, **new).status == 200


def test_a_model_that_onnx_cant_express_is_served_too(unconverted: Package, start: Start) -> None:
    service = start(unconverted.folder)
    assert service.ask(body=BODY).status == 200


def test_the_service_listens_where_it_is_told_and_says_where(package: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-I", "-B", str(package / "serve.py"), "--host", "0.0.0.0", "--port", "0"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={},
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "listening on http://0.0.0.0:" in line
        connection = http.client.HTTPConnection("127.0.0.1", int(line.rsplit(":", 1)[1]), timeout=60)
        connection.request("GET", "/health/ready")
        assert connection.getresponse().status == 200
        connection.close()
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert errors == ""


def _refused(package: Path, *words: str, **settings: str) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-B", str(package / "serve.py"), "--port", "0", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=settings,
    )
    assert done.returncode == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    "file", ["model.onnx", "schema.json", "golden.json", "score.py", "scoring/trust.py", "requirements.txt"]
)
def test_a_package_that_was_changed_is_not_served_and_the_file_is_named(package: Path, file: str) -> None:
    content = (package / file).read_bytes()
    (package / file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    errors = _refused(package)
    assert f"{file} was changed" in errors
    assert "Traceback" not in errors


def test_a_file_too_many_is_named(package: Path) -> None:
    (package / "msgspec.py").write_text("raise SystemExit('taken for the library')")
    assert "msgspec.py is not in the manifest" in _refused(package)


def _rewrite(package: Path, file: str, content: str) -> None:
    (package / file).write_text(content)
    manifest = files.read_json(package / "manifest.json")
    manifest["files"][file] = files.sha256(package / file)
    files.write_json(package / "manifest.json", manifest)


def test_a_model_that_predicts_something_else_than_it_did_is_not_served(package: Path) -> None:
    golden = files.read_json(package / "golden.json")
    golden["expected"][3] += 0.1
    _rewrite(package, "golden.json", json.dumps(golden))
    assert "for golden row 3 instead of" in _refused(package)


def test_what_a_service_asks_for_must_be_there(package: Path, tmp_path: Path) -> None:
    assert "SCORING_KEYS_FILE" in _refused(package, SCORING_REQUIRE_KEYS="1")
    assert "can't be read" in _refused(package, SCORING_KEYS_FILE=str(tmp_path / "none"))
    assert "SCORING_MAX_ROWS is 'many'" in _refused(package, SCORING_MAX_ROWS="many")
    assert "The service is not started" in _refused(package, SCORING_PUBLIC_KEY="a key")
    nothing = str(tmp_path / "nothing.pem")
    assert "nothing.pem" in _refused(package, "--tls-certificate", nothing, "--tls-key", nothing)


def test_a_port_in_use_is_told(package: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "can't listen" in _refused(package, "--port", str(taken.getsockname()[1]))


def test_the_help_names_every_setting(package: Path) -> None:
    words = [sys.executable, "-I", "-B", str(package / "serve.py"), "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    for word in ("--control", "--standby", "--tls-certificate"):
        assert word in done.stdout
    known = re.findall(r"SCORING_\w+", (package / "scoring" / "settings.py").read_text())
    assert all(name in done.stdout for name in known)


# ------------------------------------------------------------------ workers


def test_the_counts_of_all_workers_are_summed(package: Path, start: Start) -> None:
    service = start(package, "--workers", "2")
    pids = service.status()["workers"]
    assert len(set(pids)) == 2

    def both() -> bool:
        for _ in range(20):
            assert service.ask(body=BODY).status == 200
        return len({line["id"].partition("-")[0] for line in service.log}) == 2

    until(both)
    scored = sum(line["path"] == "/score" for line in until(lambda: _settled(service)))
    found = _metrics(service)
    assert found['scoring_requests_total{status="200"}'] == found["scoring_rows_total"] == scored
    assert found["scoring_workers"] == 2
    # What a worker has counted outlives it.
    os.kill(pids[0], signal.SIGKILL)
    until(lambda: service.is_in("serving") and pids[0] not in service.status()["workers"])
    assert _metrics(service)["scoring_rows_total"] == scored
    assert service.end() == 0


def _settled(service: Service) -> list[dict[str, object]] | None:
    """Return the journal once nothing is added to it any more."""
    before = service.log
    time.sleep(0.1)
    return before if len(service.log) == len(before) else None


def test_a_worker_that_cant_be_started_any_more_ends_the_service(package: Path, start: Start) -> None:
    service = start(package)
    (package / "schema.json").write_text("{}")
    os.kill(service.status()["workers"][0], signal.SIGKILL)
    assert service.process.wait(60) == 1
    assert "schema.json was changed" in service.errors
    assert "the service ends" in service.errors


def test_no_worker_outlives_its_supervisor(package: Path, start: Start) -> None:
    service = start(package, "--workers", "2", SCORING_DRAIN_SECONDS="0.5")
    workers = [psutil.Process(pid) for pid in service.status()["workers"]]
    service.process.kill()
    service.process.wait()
    gone, alive = psutil.wait_procs(workers, 10)
    assert len(gone) == 2
    assert not alive


def test_a_second_signal_doesnt_wait(package: Path, start: Start) -> None:
    service = start(package, SCORING_DRAIN_SECONDS="60")
    connection = service.connect()
    assert service.ask(body=BODY, connection=connection).status == 200
    service.process.send_signal(signal.SIGINT)
    until(lambda: service.is_in("ending"))
    assert service.end(signal.SIGINT) == 0


# ------------------------------------------------------------------ load, while something happens


class Load:
    """Asks without pause, over connections that are kept and over new ones; counts what came of it."""

    def __init__(self, port: int, kept: int = 2, fresh: int = 2) -> None:
        self._port = port
        self._over = threading.Event()
        self.found: Counter[str] = Counter()
        self._threads = [
            threading.Thread(target=self._ask, args=(number < kept,)) for number in range(kept + fresh)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, keep: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._over.is_set():
            try:
                connection.request("POST", "/score", BODY, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                self.found[str(answer.status)] += 1
            except (OSError, http.client.HTTPException) as error:
                self.found[type(error).__name__] += 1
                connection.close()
            if not keep:
                connection.close()
        connection.close()

    @property
    def answered(self) -> int:
        return self.found["200"]


def test_of_a_killed_worker_only_what_was_in_flight_is_lost(package: Path, start: Start) -> None:
    service = start(package, "--workers", "2")
    with Load(service.port, kept=3, fresh=3) as load:
        for _ in range(3):
            before = load.answered
            pids = service.status()["workers"]
            os.kill(pids[0], signal.SIGKILL)
            until(lambda pids=pids: pids[0] not in (now := service.status()["workers"]) and len(now) == 2)  # type: ignore[misc]
            until(lambda: service.is_in("serving"))
            until(lambda before=before: load.answered > before + 200)  # type: ignore[misc]
    lost = sum(load.found.values()) - load.answered
    assert lost <= 3 * 6, load.found  # three kills, six clients
    broken = {"ConnectionResetError", "RemoteDisconnected", "BrokenPipeError", "IncompleteRead"}
    assert set(load.found) - broken == {"200"}


def test_a_hand_over_under_load_loses_nothing(package: Path, challenger_package: Path, start: Start) -> None:
    old = start(package)
    with Load(old.port) as load:
        for number in range(5):
            with control.take(old.control) as listener:
                new = start(
                    challenger_package if number % 2 == 0 else package,
                    "--standby",
                    listener=listener,
                    state="standby",
                )
            assert control.ask(new.control, "serve")["state"] == "serving"
            assert control.ask(old.control, "pause")["state"] == "paused"
            before = load.answered
            until(lambda before=before: load.answered > before + 100)  # type: ignore[misc]
            assert old.end() == 0
            old = new
    assert set(load.found) == {"200"}
    assert load.answered > 500
    assert old.ask("GET", "/health/ready").json["version"] == "4"


@pytest.fixture
def challenger_package(built: Package, tmp_path: Path) -> Path:
    """A package of the next version."""
    manifest = files.read_json(built.folder / "manifest.json")
    folder = tmp_path / "next"
    shutil.copytree(built.folder, folder)
    files.write_json(folder / "manifest.json", {**manifest, "version": "4"})
    return folder


def test_a_paused_service_answers_once_more_on_what_is_connected(package: Path, start: Start) -> None:
    service = start(package)
    asking, idle = service.connect(), service.connect()
    for connection in (asking, idle):
        assert service.ask(body=BODY, connection=connection).headers.get("connection") != "close"
    assert control.ask(service.control, "pause")["state"] == "paused"
    answer = service.ask("GET", "/health/ready", connection=asking)
    assert (answer.status, answer.json["status"]) == (503, "draining")
    assert answer.headers["connection"] == "close"
    # A new connection waits in the socket's queue until somebody accepts it.
    late = service.connect()
    late.request("POST", "/score", BODY, {"Content-Type": "application/json"})
    assert idle.sock is not None
    assert idle.sock.recv(1) == b""  # closed, after the time for it
    assert control.ask(service.control, "serve")["state"] == "serving"
    assert late.getresponse().status == 200
    assert service.ask("GET", "/health/ready").status == 200


def test_a_service_in_standby_accepts_nothing(package: Path, start: Start) -> None:
    service = start(package, "--standby", state="standby")
    waiting = service.connect()
    waiting.request("GET", "/health/ready")
    assert waiting.sock is not None
    waiting.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        waiting.sock.recv(1)
    waiting.sock.settimeout(30)
    control.ask(service.control, "serve")
    assert waiting.getresponse().status == 200


def test_orders_that_are_none_are_refused(package: Path, start: Start) -> None:
    service = start(package)
    assert service.control.stat().st_mode & 0o777 == 0o600
    with pytest.raises(control.ControlError, match="can't dance"):
        control.ask(service.control, "dance")
    for line in (b"\n", b"[]\n", b"{" * 1000 + b"\n", b"x" * 10_000):
        with socket.socket(socket.AF_UNIX) as connection, control.address(service.control) as where:
            connection.connect(where)
            connection.sendall(line)
            answer = _all_of(connection)
        assert (b'"error"' in answer) == (line[-1:] == b"\n")
    assert service.status()["port"] == service.port
    assert f"{service.control} is another service's" in _refused(package, "--control", str(service.control))
    assert service.is_in("serving")


# ------------------------------------------------------------------ clients that mean no good


def _raw(service: Service, content: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", service.port), 30)
    connection.sendall(content)
    return connection


def _all_of(connection: socket.socket) -> bytes:
    found = b""
    with connection, contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            found += part
    return found


LENGTH = b"Content-Length: 100\r\n\r\n"
HEAD = b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture
def quick(package: Path, start: Start) -> Service:
    return start(package, SCORING_TIMEOUT_SECONDS="0.5", SCORING_MAX_CONNECTIONS="50")


@pytest.mark.parametrize(
    "content",
    [b"", b"POST /sc", HEAD, HEAD + b"X-A: b", HEAD + LENGTH, HEAD + LENGTH + b"{"],
)
def test_a_client_that_drips_is_cut(quick: Service, content: bytes) -> None:
    connections = [_raw(quick, content) for _ in range(5)]
    assert quick.ask(body=BODY).status == 200  # meanwhile
    dripped = content.startswith(HEAD) and content.endswith((b"b", b"{"))
    end = time.monotonic() + 10
    for connection in connections:
        if dripped:
            connection.settimeout(0.1)
            while time.monotonic() < end:  # a byte now and then doesn't help
                try:
                    connection.sendall(b"b")
                    if connection.recv(12) == b"HTTP/1.1 408":
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
            connection.close()
            assert time.monotonic() < end
        else:
            assert _all_of(connection).startswith(b"HTTP/1.1 408 ")
    assert quick.ask(body=BODY).status == 200


def test_a_slow_request_after_a_good_one_is_cut_too(quick: Service) -> None:
    whole = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    answers = _all_of(_raw(quick, whole + HEAD))
    assert answers.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in answers


def test_a_head_without_end_is_refused(quick: Service) -> None:
    connection = _raw(quick, HEAD)
    line = b"X-Long: " + b"x" * 1000 + b"\r\n"
    with_end = time.monotonic() + 10
    try:
        while time.monotonic() < with_end:
            connection.sendall(line)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert time.monotonic() < with_end
    connection.close()
    assert until(lambda: [line for line in quick.log if line["status"] == 431])
    assert quick.ask(body=BODY).status == 200


def test_a_hundred_megabytes_are_refused_and_the_client_sees_why(package: Path, start: Start) -> None:
    service = start(package)
    worker = psutil.Process(service.status()["workers"][0])
    before = worker.memory_info().rss
    answer = service.ask(body=b" " * (100 * 2**20))
    assert answer.status == 413
    assert "8 MB" in answer.json["error"]

    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 2**20

    connection = service.connect()
    connection.request("POST", "/score", chunks(), {"Content-Type": "application/json"}, encode_chunked=True)
    assert connection.getresponse().status == 413
    assert worker.memory_info().rss - before < 40 * 2**20
    assert service.ask(body=BODY).status == 200


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"[" * 1_000_000, 400),
        (b'{"data": ' + b"[" * 1_000_000, 400),
        (b'{"data": [' + b'{"bmi": ' * 100_000, 400),
        (b'{"data": [[NaN, 88.0, 40, true, "north", "a"]]}', 400),
        (b'{"data": [[-Infinity, 88.0, 40, true, "north", "a"]]}', 400),
        (b'{"data": [[1e999, 88.0, 40, true, "north", "a"]]}', 422),
        (b'{"data": [[' + b"9" * 100_000 + b', 88.0, 40, true, "north", "a"]]}', 422),
        (b"\xff\xfe", 400),
        (b"", 400),
        (b'{"data": [' + b"[]," * 1_000_000 + b"[]]}", 413),
    ],
)
def test_no_body_harms_the_service(shared: Service, content: bytes, status: int) -> None:
    assert shared.ask(body=content).status == status
    assert shared.ask(body=BODY).status == 200


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GARBAGE\r\n\r\n",
        b"GET /%ff%fe\xff HTTP/1.1\r\n\r\n",
        b"POST /score HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /score HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(shared: Service, content: bytes) -> None:
    answer = _all_of(_raw(shared, content))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"error"' in answer
    assert shared.ask(body=BODY).status == 200


def test_head_and_get_have_the_same_head(shared: Service) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=30)
    for path in ("/health/ready", "/openapi.json", "/"):
        answer, whole = (shared.ask(method, path, connection=connection) for method in ("HEAD", "GET"))
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["content-length"] == whole.headers["content-length"] == str(len(whole.body))
    connection.close()


def test_several_requests_at_once_are_answered_in_their_order(shared: Service) -> None:
    whole = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    last = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answers = _all_of(_raw(shared, whole * 5 + last))
    assert answers.count(b"HTTP/1.1 200 OK") == 6
    assert answers.count(b'{"result":[') == 5
    assert answers.endswith(b'{"status":"alive"}')


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts a connection's segments")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_answer_leaves_in_one_piece(shared: Service, method: str) -> None:
    connection = _raw(
        shared, f"{method} /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
    )
    answer = b""
    while part := connection.recv(65536):
        answer += part
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b'{"status":"alive"}' if method == "GET" else b"\r\n\r\n")
    # The field tcpi_data_segs_in of struct tcp_info.
    (segments,) = struct.unpack_from(
        "I", connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), 152
    )
    connection.close()
    assert segments == 1


def test_an_offer_of_another_protocol_is_passed_over(shared: Service) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=30)
    offer: dict[str, Any] = {
        "Connection": "Upgrade, HTTP2-Settings",
        "Upgrade": "h2c",
        "HTTP2-Settings": "AA",
    }
    for _ in range(2):
        assert shared.ask(body=BODY, connection=connection, **offer).status == 200
    large = body_of(*[GOOD] * 900)  # comes in parts
    assert len(shared.ask(body=large, connection=connection, **offer).json["result"]) == 900
    assert shared.ask("GET", "/health/live", connection=connection).status == 200
    connection.close()
    assert _all_of(_raw(shared, b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n")).startswith(b"HTTP/1.1 405 ")


def test_too_many_connections_are_refused_and_the_others_answered(package: Path, start: Start) -> None:
    service = start(package, SCORING_MAX_CONNECTIONS="5")
    connections = [service.connect() for _ in range(5)]
    for connection in connections:
        assert service.ask(body=BODY, connection=connection).status == 200
    assert _all_of(_raw(service, b"")).startswith(b"HTTP/1.1 503 ")
    for connection in connections:
        assert service.ask(body=BODY, connection=connection).status == 200
        connection.close()
    until(lambda: service.ask(body=BODY).status == 200)


@pytest.fixture(scope="module")
def shared(built: Package, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for many tests."""
    folder = tmp_path_factory.mktemp("shared")
    with socket.create_server(("127.0.0.1", 0)) as listener, (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-B", str(built.folder / "serve.py"), "--fd", str(listener.fileno())],
            pass_fds=[listener.fileno()],
            stdout=log,
            env={"SCORING_DRAIN_SECONDS": "0.5"},
        )
        port = listener.getsockname()[1]
    yield Service(process, port, folder, folder / "none")
    process.terminate()
    assert process.wait(30) == 0


# ------------------------------------------------------------------ TLS


def test_with_a_certificate_the_service_speaks_tls_alone(
    package: Path, start: Start, certificate: tuple[Path, Path]
) -> None:
    service = start(package, "--tls-certificate", str(certificate[0]), "--tls-key", str(certificate[1]))
    context = ssl.create_default_context(cafile=str(certificate[0]))
    connection = http.client.HTTPSConnection("localhost", service.port, timeout=30, context=context)
    for _ in range(2):
        connection.request("POST", "/score", BODY, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read()
    connection.close()
    plain = _all_of(_raw(service, b"GET / HTTP/1.1\r\n\r\n"))
    assert b"HTTP" not in plain
    assert service.end() == 0


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of localhost, and its key."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (tmp_path / "certificate.pem").write_bytes(made.public_bytes(pem))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return tmp_path / "certificate.pem", tmp_path / "key.pem"
