"""The load that the tests of deployments rely on: does it notice each kind of loss and nothing else?"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.load import Load

BODY = b'{"data": [[1]]}'
Serve = Callable[[socket.socket, bytes, int], None]


@contextmanager
def service(serve: Serve) -> Iterator[str]:
    """A server that gives each request, with its number on that connection, to `serve`; yield its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def answer(connection: socket.socket) -> None:
        with connection:
            number = 0
            while request := receive(connection):
                serve(connection, request, number)
                number += 1
                if connection.fileno() < 0:
                    return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=answer, args=(connection,)))
            threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/score"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in (accepting, *threads):
            thread.join()


def receive(connection: socket.socket) -> bytes:
    request = b""
    while not request.endswith(BODY):
        try:
            part = connection.recv(65536)
        except OSError:
            return b""
        if not part:
            return b""
        request += part
    return request


def answer(status: str = "200 OK", content: bytes = b'{"result":[2.0]}', header: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n{header}\r\n".encode() + content


def right(connection: socket.socket, request: bytes, number: int) -> None:
    connection.sendall(answer())


def closing(connection: socket.socket, request: bytes, number: int) -> None:
    """Answer, and close without having said so."""
    connection.sendall(answer())
    connection.close()


def test_right_answers_over_kept_connections_are_counted() -> None:
    with service(right) as url, Load(url, BODY, connections=3, expected=[[2.0]]) as load:
        load.wait(300)
    counts = load.counts
    assert counts.sent == counts.done == counts.answered[200] >= 300
    assert (counts.wrong, counts.lost.total(), counts.reopened, counts.faults) == (0, 0, 0, [])
    assert 0 < counts.slowest < 30


def test_each_request_can_have_a_connection_of_its_own() -> None:
    numbers: list[int] = []

    def serve(connection: socket.socket, request: bytes, number: int) -> None:
        numbers.append(number)
        assert b"Connection: close\r\n" in request
        connection.sendall(answer(header="Connection: close\r\n"))

    with service(serve) as url, Load(url, BODY, keep_alive=False, connections=2) as load:
        load.wait(100)
    assert set(numbers) == {0}
    assert load.counts.sent == load.counts.answered[200] == len(numbers)


def test_the_key_is_sent_as_azure_wants_it() -> None:
    requests: list[bytes] = []

    def serve(connection: socket.socket, request: bytes, number: int) -> None:
        requests.append(request)
        connection.sendall(answer())

    with service(serve) as url, Load(url, BODY, "abc", connections=1) as load:
        load.wait(1)
    assert b"\r\nAuthorization: Bearer abc\r\n" in requests[0]


def test_answers_are_counted_by_status_and_wrong_predictions_apart() -> None:
    answers = [answer(), answer(content=b'{"result":[3.0]}'), answer("503 Service Unavailable", b"{}")]

    def serve(connection: socket.socket, request: bytes, number: int) -> None:
        connection.sendall(answers[number % 3])

    with service(serve) as url, Load(url, BODY, connections=1, expected=[[2.0], [4.0]]) as load:
        load.wait(30)
    counts = load.counts
    assert counts.answered[503] >= 10 <= counts.wrong
    assert counts.answered.total() == counts.sent
    assert not counts.lost
    assert any("3.0" in fault for fault in counts.faults)


def test_any_of_the_expected_predictions_is_right() -> None:
    contents = [b'{"result":[2.0000001]}', b'{"result":[4]}']

    def serve(connection: socket.socket, request: bytes, number: int) -> None:
        connection.sendall(answer(content=contents[number % 2]))

    with service(serve) as url, Load(url, BODY, connections=1, expected=[[2.0], [4.0]]) as load:
        load.wait(10)
    assert load.counts.wrong == 0


def test_a_kept_connection_that_the_server_had_closed_before_is_not_a_loss() -> None:
    # A request every 50 ms: the end of the connection has arrived long before the next one is due.
    with service(closing) as url, Load(url, BODY, connections=1, rate=20) as load:
        load.wait(4)
    assert load.counts.sent == load.counts.answered[200]
    assert load.counts.reopened >= 3
    assert not load.counts.lost


def test_nothing_is_counted_as_closed_by_the_server_that_said_so() -> None:
    def serve(connection: socket.socket, request: bytes, number: int) -> None:
        connection.sendall(answer(header="Connection: close\r\n"))
        connection.close()

    with service(serve) as url, Load(url, BODY, connections=1) as load:
        load.wait(10)
    assert load.counts.sent == load.counts.answered[200]
    assert load.counts.reopened == 0


def test_a_connection_closed_without_an_answer_is_a_loss() -> None:
    def serve(connection: socket.socket, request: bytes, number: int) -> None:
        connection.close()

    with service(serve) as url, Load(url, BODY, connections=1) as load:
        load.wait(5)
    assert load.counts.lost.keys() == {"cut"}
    assert load.counts.lost["cut"] == load.counts.sent


def test_half_an_answer_is_a_loss() -> None:
    def serve(connection: socket.socket, request: bytes, number: int) -> None:
        connection.sendall(answer()[:-3])
        connection.close()

    with service(serve) as url, Load(url, BODY, connections=1) as load:
        load.wait(5)
    assert load.counts.lost.keys() == {"cut"}
    assert not load.counts.answered


def test_a_reset_after_the_request_was_written_is_a_loss() -> None:
    def serve(connection: socket.socket, request: bytes, number: int) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    with service(serve) as url, Load(url, BODY, connections=1) as load:
        load.wait(5)
    assert load.counts.lost.keys() == {"reset"}


def test_a_refused_connection_is_a_loss() -> None:
    with socket.socket() as reserved:  # bound, and so nobody else's; it doesn't listen
        reserved.bind(("127.0.0.1", 0))
        with Load(f"http://127.0.0.1:{reserved.getsockname()[1]}/", BODY, connections=1, rate=100) as load:
            load.wait(3)
    assert load.counts.lost.keys() == {"refused"}


def test_an_answer_that_does_not_come_is_a_loss() -> None:
    def serve(connection: socket.socket, request: bytes, number: int) -> None:
        connection.recv(1)  # until the client has given up

    with service(serve) as url, Load(url, BODY, connections=1, timeout=0.05) as load:
        load.wait(2)
    assert load.counts.lost.keys() == {"timeout"}


def test_the_last_request_is_waited_for_at_the_end() -> None:
    arrived, go_on = threading.Event(), threading.Event()

    def serve(connection: socket.socket, request: bytes, number: int) -> None:
        arrived.set()
        go_on.wait(10)
        connection.sendall(answer())

    with service(serve) as url, Load(url, BODY, connections=1) as load:
        assert arrived.wait(10)
        assert (load.counts.sent, load.counts.done) == (1, 0)
        threading.Timer(0.05, go_on.set).start()
    assert load.counts.sent == load.counts.answered[200] == 1


def test_the_rate_is_kept() -> None:
    began = time.monotonic()
    with service(right) as url, Load(url, BODY, connections=4, rate=200) as load:
        load.wait(40)
    # The first of each connection may come at once; unpaced, some thousands would come.
    assert load.counts.sent <= (time.monotonic() - began) * 200 + 4


def test_waiting_for_requests_that_do_not_end_has_a_deadline() -> None:
    def serve(connection: socket.socket, request: bytes, number: int) -> None:
        connection.recv(1)

    with (
        service(serve) as url,
        Load(url, BODY, connections=1, timeout=0.3) as load,
        pytest.raises(TimeoutError, match="1 of 1 requests had no end"),
    ):
        load.wait(1, timeout=0.01)


def test_only_plain_http_can_be_loaded() -> None:
    with pytest.raises(ValueError, match="give an address such as"):
        Load("https://127.0.0.1/score", BODY)
