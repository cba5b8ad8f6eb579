"""The application: each request gets the answer that fits, and a line in the journal."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.utils.scoring.conftest import GOOD, KEY, OTHER_KEY, Answer, Asked, body_of
from utils import files
from utils.packaging import Package
from utils.scoring.keys import KeysError
from utils.scoring.scorer import Scorer

Make = Callable[..., Asked]


@pytest.fixture
def service(asked: Make, built: Package) -> Asked:
    return asked(built.folder)


def _answer(found: Answer | None) -> Answer:
    assert found is not None
    return found


# ------------------------------------------------------------------ routes


def test_ready_tells_which_package_answers(service: Asked, built: Package) -> None:
    answer = _answer(service.ask("GET", "/health/ready"))
    assert answer.status == 200
    assert answer.json == {"status": "ready", "digest": built.digest, "model": "demo", "version": "3"}
    service.application.draining = True
    answer = _answer(service.ask("GET", "/health/ready"))
    assert (answer.status, answer.json["status"]) == (503, "draining")
    assert _answer(service.ask("GET", "/health/live")).status == 200


def test_a_body_that_comes_in_parts_is_scored(service: Asked, built: Package) -> None:
    body = body_of(GOOD)
    answer = _answer(service.ask("POST", "/score", body[:10], body[10:20], body[20:]))
    assert answer.status == 200
    assert answer.json == {"result": Scorer(built.folder).score(body)}


@pytest.mark.parametrize(
    ("method", "path", "kind", "status"),
    [
        ("GET", "/score", "application/json", 405),
        ("PUT", "/score", "application/json", 405),
        ("POST", "/health/ready", "application/json", 405),
        ("DELETE", "/metrics", "application/json", 405),
        ("GET", "/health", "application/json", 404),
        ("POST", "/score/", "application/json", 404),
        ("GET", "/manifest.json", "application/json", 404),
        ("POST", "/score", "text/csv", 415),
        ("POST", "/score", "", 415),
        ("POST", "/score", "application/json; charset=utf-8", 200),
        ("POST", "/score", "Application/JSON", 200),
    ],
)
def test_what_is_not_offered_is_refused_in_json(
    service: Asked, method: str, path: str, kind: str, status: int
) -> None:
    answer = _answer(service.ask(method, path, body_of(GOOD), kind=kind))
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json) == (["result"] if status == 200 else ["error"])
    assert ("allow" in answer.headers) == (status == 405)


def test_a_bad_request_is_answered_by_its_status_and_reason(service: Asked) -> None:
    answer = _answer(service.ask("POST", "/score", body_of(GOOD[:3])))
    assert answer.status == 422
    assert "data[0] has 3 values" in answer.json["error"]


def test_an_error_inside_is_told_without_its_insides(
    service: Asked, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(scorer: Scorer, raw: bytes) -> None:
        raise RuntimeError("deliberate, with a secret")

    monkeypatch.setattr(Scorer, "score", fail)
    answer = _answer(service.ask("POST", "/score", body_of(GOOD)))
    assert answer.status == 500
    assert "secret" not in answer.body.decode()
    assert answer.headers["x-request-id"] in caplog.text
    assert "deliberate, with a secret" in caplog.text


# ------------------------------------------------------------------ limits


def test_a_body_that_is_too_large_is_refused(asked: Make, built: Package) -> None:
    service = asked(built.folder, max_bytes=2**20)
    for chunks in ([b" " * (2**20 + 1)], [b" " * 2**19] * 3):
        answer = _answer(service.ask("POST", "/score", *chunks))
        assert answer.status == 413
        assert "larger than 1 MB" in answer.json["error"]
    # What says that it is too large isn't even waited for.
    told = {"content-length": str(2**20 + 1)}
    assert _answer(service.ask("POST", "/score", silent=True, headers=told)).status == 413
    padded = body_of(GOOD)
    assert _answer(service.ask("POST", "/score", padded + b" " * (2**20 - len(padded)))).status == 200


def test_the_limit_of_rows_is_as_set(asked: Make, built: Package) -> None:
    service = asked(built.folder, max_rows=2)
    assert _answer(service.ask("POST", "/score", body_of(GOOD, GOOD))).status == 200
    assert _answer(service.ask("POST", "/score", body_of(GOOD, GOOD, GOOD))).status == 413


def test_a_client_that_doesnt_go_on_is_answered_that_it_took_too_long(asked: Make, built: Package) -> None:
    service = asked(built.folder, timeout_seconds=0.2)
    answer = _answer(service.ask("POST", "/score", b'{"data": [[1,', silent=True))
    assert answer.status == 408
    assert answer.headers["connection"] == "close"
    assert "0.2 seconds" in answer.json["error"]
    assert _answer(service.ask("POST", "/score", body_of(GOOD))).status == 200


def test_a_client_that_goes_away_does_no_harm(service: Asked) -> None:
    assert service.ask("POST", "/score", b'{"data"', gone=True) is None
    assert service.log[-1]["status"] == 499
    assert service.counts.in_flight == 0


# ------------------------------------------------------------------ keys


def test_with_keys_nobody_scores_without_one(asked: Make, built: Package, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{KEY}\n\n{OTHER_KEY}\n")
    service = asked(built.folder, keys_file=tmp_path / "keys")
    for key, status in (
        (KEY, 200),
        (OTHER_KEY, 200),
        ("", 401),
        (KEY + "x", 401),
        (KEY[:-1], 401),
        ("ü", 401),
    ):
        answer = _answer(service.ask("POST", "/score", body_of(GOOD), key=key))
        assert answer.status == status, key
        assert _answer(service.ask("GET", "/metrics", key=key)).status == status
    assert answer.headers["www-authenticate"] == "Bearer"
    basic = {"authorization": f"Basic {KEY}"}
    assert _answer(service.ask("POST", "/score", body_of(GOOD), headers=basic)).status == 401
    for path in ("/health/live", "/health/ready", "/openapi.json", "/"):
        assert _answer(service.ask("GET", path)).status == 200


def test_keys_are_read_again_when_their_file_has_changed(
    asked: Make, built: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utils.scoring.keys.LOOK_SECONDS", 0.0)
    file = files.write_text(tmp_path / "keys", KEY)
    service = asked(built.folder, keys_file=file)

    def status(key: str) -> int:
        return _answer(service.ask("POST", "/score", body_of(GOOD), key=key)).status

    assert [status(KEY), status(OTHER_KEY)] == [200, 401]
    files.write_text(file, f"{KEY}\n{OTHER_KEY}")
    assert [status(KEY), status(OTHER_KEY)] == [200, 200]
    files.write_text(file, OTHER_KEY)
    assert [status(KEY), status(OTHER_KEY)] == [401, 200]
    for content in ("", "\n \n", "a\nb\nc\n"):
        file.write_text(content)
        assert [status(KEY), status(OTHER_KEY), status("a"), status("")] == [401] * 4
    file.unlink()
    assert [status(KEY), status(OTHER_KEY)] == [401, 401]
    files.write_text(file, KEY)
    assert status(KEY) == 200


@pytest.mark.parametrize("content", [None, "", "one\ntwo\nthree\n"])
def test_a_service_whose_keys_are_not_as_they_should_be_is_not_made(
    asked: Make, built: Package, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "keys").write_text(content)
    with pytest.raises(KeysError, match="keys"):
        asked(built.folder, keys_file=tmp_path / "keys")


# ------------------------------------------------------------------ what is told of it


def test_a_request_is_one_line_in_the_journal_without_its_data(
    asked: Make, built: Package, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text(KEY)
    service = asked(built.folder, keys_file=tmp_path / "keys")
    body = body_of([21.125, 88.0, 40, True, "Atlantis", "a"])
    service.ask("POST", "/score", body, key=KEY, headers={"x-request-id": "my-request.7"})
    service.ask("POST", "/score", body[:-2], key=KEY)
    service.ask("POST", "/score", body, key="not-this-key")
    service.ask("GET", "/health/live")
    lines = service.log
    assert [(line["method"], line["path"], line["status"], line["rows"]) for line in lines] == [
        ("POST", "/score", 200, 1),
        ("POST", "/score", 400, 0),
        ("POST", "/score", 401, 0),
        ("GET", "/health/live", 200, 0),
    ]
    assert lines[0]["id"] == "my-request.7"
    assert lines[0]["bytes"] == len(body)
    assert lines[0]["milliseconds"] > 0
    assert lines[0]["time"].endswith("Z")
    assert len({line["id"] for line in lines}) == 4
    for secret in ("21.125", "Atlantis", KEY, "not-this-key"):
        assert secret not in json.dumps(lines)


@pytest.mark.parametrize("given", ["", "x" * 101, "a b", "é", '"', "a\tb"])
def test_an_id_that_is_none_is_replaced_by_one(service: Asked, given: str) -> None:
    answer = _answer(service.ask("GET", "/health/live", headers={"x-request-id": given}))
    assert answer.headers["x-request-id"] == service.log[-1]["id"] != given
    again = _answer(service.ask("GET", "/health/live", headers={"x-ms-request-id": "from-azure"}))
    assert again.headers["x-request-id"] == "from-azure"


def _metrics(service: Asked) -> dict[str, float]:
    text = _answer(service.ask("GET", "/metrics")).body.decode()
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_metrics_count_requests_rows_and_seconds(service: Asked, built: Package) -> None:
    assert _metrics(service)['scoring_requests_total{status="200"}'] == 0
    for rows in ([GOOD], [GOOD, GOOD], [GOOD] * 7, [GOOD[:2]]):
        service.ask("POST", "/score", body_of(*rows))
    found = _metrics(service)
    assert found['scoring_requests_total{status="200"}'] == 3
    assert found['scoring_requests_total{status="422"}'] == 1
    assert found["scoring_rows_total"] == 10
    assert found["scoring_in_flight"] == 0
    assert found['scoring_request_seconds_bucket{le="+Inf"}'] == found["scoring_request_seconds_count"] == 4
    assert 0 < found["scoring_request_seconds_sum"] < 60
    buckets = [value for name, value in found.items() if "seconds_bucket" in name]
    assert buckets == sorted(buckets)
    info = f'scoring_model_info{{digest="{built.digest}",name="demo",version="3"}}'
    assert found[info] == 1


# ------------------------------------------------------------------ pages


def test_the_page_shows_inputs_and_an_example_and_fetches_nothing(service: Asked, built: Package) -> None:
    answer = _answer(service.ask("GET", "/"))
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    text = answer.body.decode()
    for word in ("demo, version 3", "bmi", "pressure", "region", "progression", "curl", built.digest[:12]):
        assert word in text
    assert "src=" not in text
    assert "http" not in text
    assert "Authorization" not in text


def test_the_document_names_every_column_with_its_type(service: Asked) -> None:
    document = _answer(service.ask("GET", "/openapi.json")).json
    record: dict[str, Any] = document["components"]["schemas"]["Record"]
    assert record["properties"]["bmi"] == {"type": "number"}
    assert record["properties"]["pressure"] == {"type": ["number", "null"]}
    assert record["properties"]["region"] == {"type": "string", "minLength": 1}
    assert record["required"] == ["bmi", "age", "smoker", "region"]
    assert "securitySchemes" not in document["components"]
    assert "401" not in document["paths"]["/score"]["post"]["responses"]
