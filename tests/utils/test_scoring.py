"""Scoring: a request is answered rightly, or refused with what is wrong; and the service lives on."""

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from utils import files, models, packaging, service_checks
from utils.packaging import Package
from utils.platforms.protocol import Endpoint
from utils.scoring import score, serve
from utils.scoring.score import BadRequest, Scorer

GOOD = [24.5, 88.0, 40, True, "north", "a"]


@pytest.fixture(scope="module")
def scorer(regression_folder: Path) -> Scorer:
    return Scorer(regression_folder)


def _request(*rows: Any) -> str:
    return json.dumps({"data": list(rows)})


def _refusal(scorer: Scorer, body: str | bytes) -> tuple[int, str]:
    with pytest.raises(BadRequest) as refused:
        scorer.score(body)
    return refused.value.status, refused.value.message


def _but(**others: Any) -> list[Any]:
    names = ["bmi", "pressure", "age", "smoker", "region", "note"]
    return [others.get(name, value) for name, value in zip(names, GOOD, strict=True)]


# ------------------------------------------------------------------ right answers


def test_rows_are_answered_by_what_the_model_predicts(
    scorer: Scorer, regression_folder: Path, rows: pd.DataFrame
) -> None:
    data = rows.astype(object).where(rows.notna(), None).to_numpy().tolist()
    direct = models.predict(models.load(regression_folder / "model.skops"), rows)
    assert scorer.score(_request(*data)) == pytest.approx(direct.tolist(), rel=1e-12)


def test_a_row_alone_is_answered_as_it_is_among_others(scorer: Scorer) -> None:
    other = _but(bmi=31.25, region="south", note=None)
    alone = scorer.score(_request(GOOD)) + scorer.score(_request(other))
    assert scorer.score(_request(GOOD, other)) == pytest.approx(alone, rel=1e-12)


def test_classes_are_answered_by_their_labels(classification_folder: Path) -> None:
    answer = Scorer(classification_folder).score(_request([35, 70], [18, 20]))
    assert answer == ["high", "low"]


def test_whole_numbers_may_be_written_either_way(scorer: Scorer) -> None:
    assert scorer.score(_request(_but(age=40))) == scorer.score(_request(_but(age=40.0)))
    assert scorer.score(_request(_but(bmi=25))) == scorer.score(_request(_but(bmi=25.0)))


def test_a_word_never_met_before_is_still_answered(scorer: Scorer) -> None:
    assert len(scorer.score(_request(_but(region="東京"), _but(region="\U0001f30d")))) == 2


def test_as_many_rows_as_allowed_are_answered(scorer: Scorer) -> None:
    assert len(scorer.score(_request(*[GOOD] * score.MAX_ROWS))) == score.MAX_ROWS


def test_many_threads_at_once_get_the_same_answers(scorer: Scorer) -> None:
    bodies = [_request(_but(bmi=20 + number / 7)) for number in range(40)]
    expected = [scorer.score(body) for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(scorer.score, bodies)) == expected


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no JSON",
        "{",
        b"\xff\xfe\xfd",
        '{"data": [[NaN, 88.0, 40, true, "north", "a"]]}',
        '{"data": [[Infinity, 88.0, 40, true, "north", "a"]]}',
        '{"data": [[-Infinity, 88.0, 40, true, "north", "a"]]}',
        "[" * 100_000,
        "[]",
        "null",
        "1",
        '"data"',
        "{}",
        '{"data": null}',
        '{"data": {"bmi": 1}}',
        '{"data": "rows"}',
        '{"rows": [[1]]}',
        '{"data": [[1]], "columns": ["bmi"]}',
    ],
)
def test_a_body_of_another_form_is_a_bad_request(scorer: Scorer, body: str | bytes) -> None:
    status, message = _refusal(scorer, body)
    assert status == 400
    assert message


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (_but(bmi="25"), ["data[0][0]", "'bmi'", "the string '25'", "must be a number"]),
        (_but(bmi=True), ["'bmi'", "the boolean true", "must be a number"]),
        (_but(bmi=None), ["'bmi'", "null", "must be a number."]),
        (_but(bmi=[1]), ["'bmi'", "the list [1]"]),
        (_but(bmi={"a": 1}), ["'bmi'", "the object"]),
        (_but(bmi=10**400), ["'bmi'", "finite number"]),
        (_but(pressure="high"), ["'pressure'", "must be a number or null"]),
        (_but(age=40.5), ["'age'", "must be an integer"]),
        (_but(age=True), ["'age'", "must be an integer"]),
        (_but(age=2**63), ["'age'", "64 bits"]),
        (_but(age=1e300), ["'age'", "64 bits"]),
        (_but(age=None), ["'age'", "must be an integer"]),
        (_but(smoker=1), ["'smoker'", "the number 1", "must be true or false"]),
        (_but(smoker=None), ["'smoker'", "must be true or false"]),
        (_but(region=None), ["'region'", "must be a string"]),
        (_but(region=""), ["'region'", "isn't empty"]),
        (_but(region=3), ["'region'", "must be a string"]),
        (_but(region="\ud800"), ["'region'", "valid Unicode"]),
        (_but(note=False), ["'note'", "must be a string or null"]),
    ],
)
def test_a_value_that_does_not_fit_its_column_is_named(
    scorer: Scorer, row: list[Any], words: list[str]
) -> None:
    status, message = _refusal(scorer, _request(row))
    assert status == 422
    for word in words:
        assert word in message


def test_a_number_that_overflows_is_no_infinity(scorer: Scorer) -> None:
    body = '{"data": [[1e999, 88.0, 40, true, "north", "a"]]}'
    assert _refusal(scorer, body)[0] == 422
    body = '{"data": [[' + "9" * 5000 + ', 88.0, 40, true, "north", "a"]]}'
    assert _refusal(scorer, body)[0] == 422


def test_the_row_at_fault_is_told(scorer: Scorer) -> None:
    _, message = _refusal(scorer, _request(GOOD, GOOD, _but(age="forty")))
    assert "data[2][2] (column 'age')" in message


def test_a_long_value_is_not_echoed_in_full(scorer: Scorer) -> None:
    _, message = _refusal(scorer, _request(_but(bmi="x" * 100_000)))
    assert len(message) < 300


@pytest.mark.parametrize("row", [GOOD[:-1], [*GOOD, 1], []])
def test_another_number_of_columns_is_refused_with_those_expected(scorer: Scorer, row: list[Any]) -> None:
    status, message = _refusal(scorer, _request(GOOD, row))
    assert status == 422
    assert f"data[1] has {len(row)} values" in message
    assert "bmi, pressure, age, smoker, region, note" in message


def test_a_row_that_is_no_list_is_refused(scorer: Scorer) -> None:
    status, message = _refusal(scorer, _request({"bmi": 1}))
    assert status == 422
    assert "data[0] is the object" in message


def test_no_rows_and_too_many_rows_are_refused(scorer: Scorer) -> None:
    assert _refusal(scorer, '{"data": []}')[0] == 422
    status, message = _refusal(scorer, _request(*[GOOD] * 1001))
    assert status == 413
    assert "1001 rows" in message


# ------------------------------------------------------------------ the entry script


def test_init_loads_the_model_that_azure_names(
    built: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(score, "_scorer", None)
    with pytest.raises(RuntimeError, match="init"):
        score.run(_request(GOOD))
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(built.folder))
    score.init()
    golden = files.read_json(built.folder / "golden.json")
    assert score.run(json.dumps({"data": golden["data"]})) == {"result": golden["expected"]}
    # Azure mounts a registered folder below the one that it names.
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(built.folder.parent))
    score.init()
    assert score.run(json.dumps({"data": golden["data"]})) == {"result": golden["expected"]}
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(tmp_path))
    with pytest.raises(OSError, match="schema"):
        score.init()


def test_a_model_of_types_that_nobody_trusts_is_not_loaded(tmp_path: Path, regression_folder: Path) -> None:
    import skops.io

    skops.io.dump({"a": os.path.join}, tmp_path / "model.skops")
    (tmp_path / "schema.json").write_bytes((regression_folder / "schema.json").read_bytes())
    with pytest.raises(RuntimeError, match="aren't trusted"):
        Scorer(tmp_path)


def test_a_prediction_that_is_no_number_is_never_sent(
    regression_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = Scorer(regression_folder)
    monkeypatch.setattr(type(scorer.model), "predict", lambda model, frame: [float("nan")] * len(frame))
    with pytest.raises(RuntimeError, match="not a finite number"):
        scorer.score(_request(GOOD))


# ------------------------------------------------------------------ HTTP, without a socket


@pytest.fixture
def service(built: Package, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(score, "_scorer", Scorer(built.folder))
    return serve.application(built.folder)


def _ask(
    service: Any, method: str, path: str, chunks: list[bytes] | None = None, kind: str = "application/json"
) -> tuple[int, Any, dict[str, str]]:
    """Send a request in chunks, without telling its length."""
    pending = list(chunks or [b""])
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not pending:
            return {"type": "http.disconnect"}
        chunk = pending.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(pending)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-type", kind.encode())] if kind else []
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": headers,
        "query_string": b"",
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 1),
        "client": ("127.0.0.1", 2),
        "root_path": "",
    }
    try:
        asyncio.run(service(scope, receive, send))
    except RuntimeError as error:
        if "deliberate" not in str(error):
            raise
    body = b"".join(message.get("body", b"") for message in sent[1:])
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], json.loads(body) if body else None, answered


def test_health_tells_which_package_answers(service: Any, built: Package) -> None:
    status, answer, _ = _ask(service, "GET", "/health")
    assert status == 200
    assert answer == {"status": "ok", "digest": built.digest, "model": "demo", "version": "3"}


def test_a_body_that_comes_in_parts_is_scored(service: Any) -> None:
    body = _request(GOOD).encode()
    status, answer, _ = _ask(service, "POST", "/score", [body[:10], body[10:20], body[20:]])
    assert status == 200
    assert answer == score.run(body)


@pytest.mark.parametrize(
    ("method", "path", "kind", "status"),
    [
        ("GET", "/score", "application/json", 405),
        ("PUT", "/score", "application/json", 405),
        ("POST", "/health", "application/json", 405),
        ("GET", "/", "application/json", 404),
        ("POST", "/score/", "application/json", 404),
        ("GET", "/manifest.json", "application/json", 404),
        ("POST", "/score", "text/csv", 415),
        ("POST", "/score", "", 415),
        ("POST", "/score", "application/json; charset=utf-8", 200),
        ("POST", "/score", "Application/JSON", 200),
    ],
)
def test_what_is_not_offered_is_refused_in_json(
    service: Any, method: str, path: str, kind: str, status: int
) -> None:
    found, answer, headers = _ask(service, method, path, [_request(GOOD).encode()], kind)
    assert found == status
    assert headers["content-type"] == "application/json"
    assert list(answer) == (["result"] if status == 200 else ["error"])
    if status == 405:
        assert headers["allow"]


def test_a_bad_request_is_answered_by_its_status_and_reason(service: Any) -> None:
    status, answer, _ = _ask(service, "POST", "/score", [_request(GOOD[:3]).encode()])
    assert status == 422
    assert "data[0] has 3 values" in answer["error"]


def test_a_body_without_end_is_not_kept(service: Any) -> None:
    megabyte = b" " * 2**20
    for count in (9, 70):
        status, answer, _ = _ask(service, "POST", "/score", [megabyte] * count)
        assert status == 413
        assert "8 MB" in answer["error"]


def test_a_client_that_goes_away_does_no_harm(service: Any) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        pass

    scope = {"type": "http", "method": "POST", "path": "/score", "query_string": b"", "root_path": ""}
    asyncio.run(service({**scope, "headers": [(b"content-type", b"application/json")]}, receive, send))


def test_an_error_inside_is_told_without_its_insides(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(raw: bytes) -> None:
        raise RuntimeError("deliberate, with a secret")

    monkeypatch.setattr(score, "run", fail)
    status, answer, _ = _ask(service, "POST", "/score", [_request(GOOD).encode()])
    assert status == 500
    assert "secret" not in json.dumps(answer)


def test_a_package_that_was_changed_is_not_served(package: Path) -> None:
    (package / "schema.json").write_bytes((package / "schema.json").read_bytes() + b" ")
    with pytest.raises(RuntimeError, match=r"schema\.json is not the file"):
        serve.application(package)


# ------------------------------------------------------------------ the process


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


def _start(package: Path, *words: str, fds: tuple[int, ...] = ()) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-I", str(package / "serve.py"), *words],
        pass_fds=fds,
        stderr=subprocess.PIPE,
        text=True,
        env={},
    )


def test_the_service_takes_over_a_socket_and_ends_on_sigterm(package: Path, listener: socket.socket) -> None:
    before = sorted(path.name for path in package.iterdir())
    process = _start(package, "--fd", str(listener.fileno()), fds=(listener.fileno(),))
    try:
        port = listener.getsockname()[1]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        # The socket listens already: the request waits until the model is loaded.
        for _ in range(3):
            connection.request("POST", "/score", _request(GOOD), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            assert answer.status == 200
            assert len(json.loads(answer.read())["result"]) == 1
        # More than a socket's buffers hold: the answer still comes through.
        connection.request("POST", "/score", b" " * (20 * 2**20), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 413
        assert "8 MB" in json.loads(answer.read())["error"]
        connection.close()
        endpoint = Endpoint("staging", "demo", f"http://127.0.0.1:{port}", "", "3", confirmed=False)
        service_checks.demand(service_checks.check(endpoint, packaging.load(package), requests=20))
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
        assert process.returncode in (0, -signal.SIGTERM)
        assert "Traceback" not in log
    finally:
        process.kill()
        process.communicate()
    assert sorted(path.name for path in package.iterdir()) == before


def test_the_service_listens_on_loopback_alone_and_logs_what_failed(package: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (package / "score.py").write_text(
        (package / "score.py").read_text() + "\n\ndef run(raw):\n    raise RuntimeError('deliberate')\n"
    )
    manifest = files.read_json(package / "manifest.json")
    manifest["files"]["score.py"] = files.sha256(package / "score.py")
    files.write_json(package / "manifest.json", manifest)
    process = _start(package, "--port", str(port))
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "running on" in line:
                break
        assert f"http://127.0.0.1:{port}" in lines[-1]
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/score", _request(GOOD), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 500
        assert b"deliberate" not in answer.read()
        connection.close()
    finally:
        process.terminate()
        _, log = process.communicate(timeout=30)
    assert "RuntimeError: deliberate" in log
