"""The way to blobs through this server, for the sake of faults: what comes is passed on to the emulator."""

from __future__ import annotations

import http.client
import ssl
from urllib.parse import quote, urlencode

from tests.azure import names
from tests.azure.cloud.routing import Answer, Request

_OWN = ("host", "connection", "transfer-encoding", "content-length", "accept-encoding")


def pass_on(request: Request) -> Answer:
    """Let the emulator answer a call."""
    host = f"{names.ACCOUNT}.{names.BLOB_SUFFIX}"
    connection = http.client.HTTPSConnection(host, context=ssl.create_default_context())
    target = f"{quote(request.path)}?{urlencode(request.queries, doseq=True)}"
    sent = {name: value for name, value in request.headers.items() if name not in _OWN}
    try:
        connection.request(request.method, target, request.body, sent)
        answer = connection.getresponse()
        content = answer.read()
        kept = {name: value for name, value in answer.getheaders() if name.lower() not in _OWN}
        if request.method == "HEAD" and answer.getheader("Content-Length"):
            kept["Content-Length"] = str(answer.getheader("Content-Length"))
    finally:
        connection.close()
    return Answer(answer.status, content, kept)
