"""The configuration of HAProxy before the versions of a service.

Where a request goes is decided anew for each, also on a connection that is kept: by the header
``x-scoring-version`` where there is one, else by a throw of the dice against the versions' shares. A share
holds for a version as a whole, however many replicas of it are well.

References
----------
HAProxy, "Configuration Manual", https://docs.haproxy.org/2.6/configuration.html: `hard-stop-after`,
`option idle-close-on-response`, `retry-on`, `http-check expect`, `rand`, `nbsrv`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from string import Template

PORT = 8080
ADMIN_PORT = 8404
FOLDER = "/router"
HEADER = "x-scoring-version"

# A client that keeps its connection without a word is let go after the first, also by a worker that ends;
# a worker that still has connections after the last ends nevertheless.
IDLE_SECONDS = 5
ANSWER_SECONDS = 60
STOP_SECONDS = 75

_GENERATION = "GENERATION"
_ADDRESSES = "init-addr last,libc,none"


@dataclass(frozen=True)
class Backend:
    """A version as the router sees it.

    Attributes
    ----------
    digest : str
        Of its package: its replicas must say so at /health/ready.
    share : int
        Of the requests, in per cent; 0 for one that is reached by the header alone.
    servers : tuple of str
        Names of its replicas in the network of the engine.
    """

    digest: str
    share: int
    servers: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the header calls it."""
        return self.digest[:12]


_GLOBAL = Template("""\
# Written anew at each change of the route; $generation
global
    log stdout format raw local0 info
    maxconn 2000
    nbthread 2
    hard-stop-after ${stop}s
    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets

defaults
    mode http
    log global
    timeout connect 1s
    timeout client ${answer}s
    timeout server ${answer}s
    timeout queue 10s
    timeout check 2s
    # All of the headers, and a small body, must have come by then: slow clients hold no replica.
    timeout http-request 10s
    timeout http-keep-alive ${idle}s
    option http-buffer-request
    option dontlognull
    # A worker that ends tells its clients so in an answer. Closing under their hands would lose requests.
    option idle-close-on-response
    # Nothing is sent twice that a replica may have got: a connection that failed is tried again, elsewhere.
    retries 3
    retry-on conn-failure
    option redispatch 1
    http-error status 400 content-type application/json string '{"error": "This is no HTTP request."}'
    http-error status 408 content-type application/json string '{"error": "The request came too slowly."}'
    http-error status 502 content-type application/json string '{"error": "The service gave no answer."}'
    http-error status 503 content-type application/json string '{"error": "No replica is ready."}'
    http-error status 504 content-type application/json string '{"error": "The service took too long."}'

resolvers engine
    parse-resolv-conf
    resolve_retries 3
    timeout resolve 1s
    timeout retry 500ms
    # A replica that was started again may have another address.
    hold valid 1s
    hold obsolete 2s
    hold nx 10s

frontend admin
    bind :$admin
    no log
    http-request return status 200 content-type text/plain string "$generation" if { path /generation }
.if feature(PROMEX)
    http-request use-service prometheus-exporter if { path /metrics }
.endif
    http-request return status 404 content-type text/plain string "/generation, /metrics"

frontend scoring
    bind :$port$tls
    log-format '$log'
    http-request set-header x-request-id %[uuid()] unless { req.hdr(x-request-id) -m found }
    http-request capture req.hdr(x-request-id) len 64
    http-request set-var(txn.path) path
    acl asks req.hdr($header) -m found
    acl known req.hdr($header) -m str $names
    http-request return status 404 content-type application/json string '$unknown' if asks !known
    http-request set-var(txn.dice) rand(100)
""")

_BACKEND = Template("""
backend $name
    balance leastconn
    option httpchk
    http-check send meth GET uri /health/ready ver HTTP/1.1 hdr host scoring
    http-check expect status 200
    http-check expect string $digest
    http-response set-header $header $name
$hsts    default-server resolvers engine resolve-prefer ipv4 $addresses
    default-server check inter 1s fastinter 250ms downinter 500ms fall 2 rise 1
    default-server observe layer4 error-limit 3 on-error fastinter
""")

# No query, no body, no key: none of them is anybody's business later.
_LOG = (
    '{"time":"%trg","id":"%[capture.req.hdr(0),json(utf8s)]","method":"%HM","path":"%[var(txn.path),json(utf8s)]",'
    '"status":%ST,"version":"%b",'
    '"replica":"%s","bytes":%B,"milliseconds":%Ta,"end":"%ts"}'
)


def render(backends: Sequence[Backend], *, port: int, certificate: str = "") -> tuple[str, str]:
    """Write the configuration.

    Parameters
    ----------
    backends : sequence of Backend
        Their shares sum up to 100.
    port : int
        Where a replica listens.
    certificate : str
        The name of a PEM file beside the configuration, with the key, if the address shall be https.

    Returns
    -------
    configuration, generation : str
        The generation tells this configuration from every other.
    """
    tls = f" ssl crt {FOLDER}/{certificate} alpn h2,http/1.1" if certificate else ""
    names = " ".join(backend.name for backend in backends)
    parts = [
        _GLOBAL.substitute(
            generation=_GENERATION,
            stop=STOP_SECONDS,
            answer=ANSWER_SECONDS,
            idle=IDLE_SECONDS,
            admin=ADMIN_PORT,
            port=PORT,
            tls=tls,
            log=_LOG,
            header=HEADER,
            names=names,
            unknown=f'{{"error": "No version of this {HEADER} is served."}}',
        ),
        *(f"    {line}\n" for line in _choice(backends)),
        *(_backend(each, port, secure=bool(certificate)) for each in backends),
    ]
    text = "".join(parts)
    generation = hashlib.sha256(text.encode()).hexdigest()[:16]
    return text.replace(_GENERATION, generation), generation


def strict(configuration: str) -> str:
    """Return a configuration that is refused if a replica has no address in the engine's network.

    When the router starts after a reboot, none may have one yet. When it is led to a version, all must.
    """
    return configuration.replace(_ADDRESSES, "init-addr libc")


def _choice(backends: Sequence[Backend]) -> list[str]:
    """Lead by the header, then by shares, then, where a version has no replica that is well, to another."""
    lines = [f"use_backend {each.name} if {{ req.hdr({HEADER}) -m str {each.name} }}" for each in backends]
    sharing = sorted((each for each in backends if each.share), key=lambda each: each.share)
    until = 0
    for each in sharing[:-1]:
        until += each.share
        lines.append(
            f"use_backend {each.name} if {{ var(txn.dice) -m int lt {until} }} {{ nbsrv({each.name}) gt 0 }}"
        )
    largest = sharing[-1]
    lines += [
        f"use_backend {each.name} if {{ nbsrv({largest.name}) eq 0 }} {{ nbsrv({each.name}) gt 0 }}"
        for each in reversed(sharing[:-1])
    ]
    return [*lines, f"default_backend {largest.name}"]


def _backend(backend: Backend, port: int, *, secure: bool) -> str:
    head = _BACKEND.substitute(
        name=backend.name,
        digest=backend.digest,
        header=HEADER,
        hsts="    http-response set-header strict-transport-security max-age=31536000\n" if secure else "",
        addresses=_ADDRESSES,
    )
    return head + "".join(f"    server {name} {name}:{port}\n" for name in backend.servers)
