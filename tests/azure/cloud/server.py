"""The server: it takes calls over TLS under all of Azure's names, and finds who answers them."""

from __future__ import annotations

import http.server
import os
import socket
import ssl
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.azure import azurite, certificates, names
from tests.azure.cloud import front, routing, tokens
from tests.azure.cloud.exact import NotExactError
from tests.azure.cloud.faults import Fault, Faults
from tests.azure.cloud.operations import Operations
from tests.azure.cloud.routing import Answer, Request

Area = TypeVar("Area")
CONTAINERS = ("azureml", "azureml-blobstore", "snapshotzips")


@dataclass(frozen=True)
class Call:
    """A call that was answered; status 0 where it was cut."""

    method: str
    host: str
    path: str
    query: str
    status: int


class Cloud:
    """All of Azure that there is in a sandbox.

    Parameters
    ----------
    folder : Path
        The sandbox's.

    Attributes
    ----------
    calls : list of Call
    violations : list of str
        Calls that no route knows, and whatever isn't as the SDK's models say.
    home : Path
        For what the cloud runs.
    fronted : bool
        Whether signed addresses of blobs lead to them by way of this server, so that faults can happen there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "cloud"
        self.home.mkdir(exist_ok=True)
        self.lock = threading.RLock()
        self.faults = Faults()
        self.log: Path | None = None
        self._areas: dict[type, Any] = {}
        self._closing: list[Callable[[], object]] = []
        self._azurite = azurite.start(folder)
        self._servers = [_Server(self, port, folder) for port in (443, 80)]
        self.reset()

    def reset(self) -> None:
        """Begin anew: nothing exists, nothing was called. What was started is ended."""
        for end in reversed(self._closing):
            end()
        self._closing = []
        self._areas.clear()
        self.operations = Operations()
        self.faults.clear()
        self.fronted = False
        self.calls: list[Call] = []
        self.violations: list[str] = []
        self._empty_containers()

    def close(self) -> None:
        """End everything."""
        for end in reversed(self._closing):
            end()
        for server in self._servers:
            server.end()
        self._azurite.terminate()
        self._azurite.wait()

    def area(self, kind: type[Area]) -> Area:
        """Return the state of an area, made when it is asked for first: `kind()`."""
        with self.lock:
            if kind not in self._areas:
                self._areas[kind] = kind()
            found: Area = self._areas[kind]
            return found

    def at_end(self, end: Callable[[], object]) -> None:
        """Call something when the cloud ends or begins anew."""
        self._closing.append(end)

    def background(self, work: Callable[[], object]) -> threading.Thread:
        """Do slow work beside the calls."""
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    @property
    def blobs(self) -> Any:
        """A client of the storage account."""
        from azureml._vendor.azure_storage.blob import BlobServiceClient

        credential = {"account_name": names.ACCOUNT, "account_key": azurite.ACCOUNT_KEY}
        return BlobServiceClient(f"https://{names.ACCOUNT}.{names.BLOB_SUFFIX}", credential=credential)

    def signed(self, container: str, path: str) -> str:
        """Return the address of a blob, with a signature that lets its holder read and write it."""
        from azureml._vendor.azure_storage.blob import BlobSasPermissions, generate_blob_sas

        signature = generate_blob_sas(
            names.ACCOUNT,
            container,
            path,
            account_key=azurite.ACCOUNT_KEY,
            permission=BlobSasPermissions(read=True, write=True, create=True, add=True),
            expiry=datetime.now(UTC) + timedelta(hours=2),
        )
        host = names.FRONT if self.fronted else f"{names.ACCOUNT}.{names.BLOB_SUFFIX}"
        return f"https://{host}/{container}/{quote(path)}?{signature}"

    def token(self, minutes: float = 60) -> str:
        """Return a token that is good for so long."""
        return tokens.make(minutes)

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a caller who signs in as a service principal."""
        return {
            "AZURE_TENANT_ID": tokens.TENANT,
            "AZURE_CLIENT_ID": tokens.CLIENT,
            "AZURE_CLIENT_SECRET": tokens.SECRET,
            "AZURE_SUBSCRIPTION_ID": tokens.SUBSCRIPTION,
            "AZURE_RESOURCE_GROUP": "mlops",
            "AZUREML_WORKSPACE": "mlops",
        }

    def answer(self, request: Request) -> Answer:
        """Find who answers a call, and let them."""
        if request.host == names.FRONT:
            return front.pass_on(request)
        found = routing.find(request.method, request.path)
        if found is None:
            self.violations.append(f"no route: {request.method} {request.host}{request.path}")
            return routing.refused(501, "NotCovered", f"no route for {request.method} {request.path}")
        handler, request.names = found
        try:
            with self.lock:
                refusals = (guard(self, request) for guard in routing.GUARDS)
                answer = next((each for each in refusals if each is not None), None) or handler(self, request)
            answer.encoded()
        except NotExactError as error:
            self.violations.append(f"{request.method} {request.path}: {error}")
            return routing.refused(400, "BadRequest", str(error))
        except Exception:
            self.violations.append(f"{request.method} {request.path}: {traceback.format_exc(limit=-4)}")
            return routing.refused(500, "Broken", "the stand-in itself failed")
        return answer

    def note(self, request: Request, status: int, query: str) -> None:
        """Remember a call."""
        call = Call(request.method, request.host, request.path, query, status)
        self.calls.append(call)
        if self.log is not None:
            with self.log.open("a") as lines:
                lines.write(f"{call.status} {call.method:6} {call.host}{call.path}?{call.query}\n")

    def _empty_containers(self) -> None:
        blobs = self.blobs
        for container in CONTAINERS:
            client = blobs.get_container_client(container)
            # As a whole: that is as fast for many blobs, and those that somebody has a lease of go as well.
            with suppress(Exception):
                client.delete_container()
            client.create_container()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, cloud: Cloud, port: int, folder: Path) -> None:
        super().__init__((names.CLOUD, port), _Handler)
        self.cloud = cloud
        if port == 443:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder / certificates.CERTIFICATE, folder / certificates.KEY)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def end(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of callers who went away."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or the second part of each answer waits for 40 ms
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
        """Say nothing: the cloud keeps its own list of calls."""

    def _answer(self) -> None:
        cloud = self.server.cloud
        parts = urlsplit(self.path)
        queries = parse_qs(parts.query, keep_blank_values=True)
        fault = cloud.faults.next(self.command, unquote(parts.path))
        torn = fault is not None and fault.torn
        request = Request(
            self.command,
            (self.headers.get("Host") or "").partition(":")[0],
            unquote(parts.path),
            {name: values[-1] for name, values in queries.items()},
            queries,
            {name.lower(): value for name, value in self.headers.items()},
            self._half() if torn else self._body(),
        )
        if fault is None:
            self._send(request, cloud.answer(request), parts.query)
        else:
            self._fail(fault, request, parts.query)

    def _fail(self, fault: Fault, request: Request, query: str) -> None:
        cloud = self.server.cloud
        if fault.after is not None:
            fault.after()
        answer = cloud.answer(request) if fault.late or fault.status < 0 else None
        if fault.status > 0:
            answer = routing.refused(fault.status, fault.code, fault.message, **fault.headers)
        if fault.status and answer is not None:
            self._send(request, answer, query)
            return
        cloud.note(request, 0, query)
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, request: Request, answer: Answer, query: str) -> None:
        content = answer.encoded()
        self.server.cloud.note(request, answer.status, query)
        self.send_response(answer.status)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "x-ms-request-id": routing.identity(),
            "Content-Length": str(len(content)),
            **answer.headers,
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if request.method != "HEAD" and answer.status != 204:
            self.wfile.write(content)

    def _half(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)

    def _body(self) -> bytes:
        if (self.headers.get("Transfer-Encoding") or "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 - http.server's names


def sandbox() -> Path:
    """Return the folder of the sandbox that this process is in."""
    from tests.azure.sandbox import FOLDER

    return Path(os.environ[FOLDER])
