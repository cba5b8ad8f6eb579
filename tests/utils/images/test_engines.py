from pathlib import Path

import pytest

from utils.images import ImageError, engines, faults


def _client(folder: Path, name: str, script: str) -> Path:
    """Write a program of an engine's name: what stands on a search path is not always an engine."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_a_client_without_an_engine_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _client(tmp_path / "one", "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    right = _client(tmp_path / "two", "docker", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'one'}:{tmp_path / 'two'}:/usr/bin:/bin")
    assert engines.find("auto") == engines.Engine("docker", str(right))


def test_a_client_that_cannot_build_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _client(
        tmp_path, "docker", 'test "$1" = version || { echo "the buildx component is missing" >&2; exit 1; }'
    )
    podman = _client(tmp_path, "podman", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert engines.find() == engines.Engine("podman", str(podman))
    with pytest.raises(ImageError, match=r"No container engine answers: start docker(.|\n)*buildx component"):
        engines.find("docker")


def test_no_engine_at_all_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match="There is no container engine: install Docker, Podman or Buildah"):
        engines.find()
    with pytest.raises(ValueError, match="no engine 'lxc': name one of auto, docker, podman, buildah"):
        engines.find("lxc")


def test_a_socket_that_is_not_ours_is_told_as_such(tmp_path: Path) -> None:
    said = (
        "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock"
    )
    engine = engines.Engine("docker", str(_client(tmp_path, "docker", f"echo '{said}' >&2; exit 1")))
    error = engines.failure(engine, engine.run("build"), "build the image", base="python:3.11")
    assert str(error).startswith("You may not talk to the engine: let an administrator add you to the group")


def test_an_engine_that_hangs_is_given_up(tmp_path: Path) -> None:
    engine = engines.Engine("docker", str(_client(tmp_path, "docker", "exec sleep 600")))
    with pytest.raises(ImageError, match=r"docker info has not ended after 0\.2 seconds"):
        engine.run("info", seconds=0.2)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("unauthorized: authentication required", "log in to it by `podman login example.com`"),
        ("denied: requested access to the resource is denied", "doesn't let you in"),
        ("x509: certificate signed by unknown authority", "no certificate that the engine trusts"),
        ("dial tcp 127.0.0.1:5000: connect: connection refused", "doesn't answer as it should"),
        ("received unexpected HTTP status: 503 Service Unavailable", "doesn't answer as it should"),
        ("write /var/lib/x: no space left on device", "The disk is full"),
        ("something else", "podman could not push the image; it said:\n    something else"),
    ],
)
def test_what_a_push_says_is_told_in_plain_words(said: str, told: str) -> None:
    error = faults.explain(f"{said}\n", "push the image", engine="podman", registry="example.com")
    assert told in str(error)
    assert said in str(error)
