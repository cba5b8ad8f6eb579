"""Whether data has changed is told for sure or not at all, and no credential is ever shown."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from utils import project, sources
from utils.sources import SourceError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's folder, to which paths are relative."""
    monkeypatch.setattr(project, "root", lambda: tmp_path)
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("sklearn:diabetes", "sklearn:diabetes"),
        ("data/a?b@c.csv", "data/a?b@c.csv"),
        ("s3://bucket/a.csv", "s3://bucket/a.csv"),
        ("s3://bucket/2026@1/a.csv", "s3://bucket/2026@1/a.csv"),
        ("ftp://me:secret@host/a.csv", "ftp://***@host/a.csv"),
        ("ftp://me:sec@ret@host/a.csv", "ftp://***@host/a.csv"),
        ("ftp://me:sec/ret@host/a.csv", "ftp://***@host/a.csv"),
        ("ftp://me:sec?ret@host/a.csv", "ftp://***@host/a.csv"),
        ("secret@host", "secret@host"),
        ("https://host/a.csv?sig=secret", "https://host/a.csv?***"),
        ("https://host/a.csv#secret", "https://host/a.csv#***"),
        ("simplecache::ftp://me:secret@host/a.csv", "simplecache::ftp://***@host/a.csv"),
        ("zip://a.csv::https://host/b.zip?sig=secret", "zip://a.csv::https://host/b.zip?***"),
    ],
)
def test_credentials_in_an_address_are_never_shown(source: str, shown: str) -> None:
    assert sources.redact(source) == shown


@pytest.mark.parametrize(
    "prefix", ["", "file://{root}/", "zip://inner.csv::", "zip://inner.csv::file://{root}/"]
)
def test_a_file_counts_by_its_content_however_it_is_addressed(root: Path, prefix: str) -> None:
    source = prefix.format(root=root) + "rows.csv"
    before = sources.content(source)
    (root / "rows.csv").touch()
    assert sources.content(source) == before
    (root / "rows.csv").write_text("a,b\n1,3\n")
    assert sources.content(source) != before


def test_a_folder_counts_by_all_its_files_and_their_names(root: Path) -> None:
    inner = root / "parts" / "year=2026"
    inner.mkdir(parents=True)
    (inner / "a.parquet").write_bytes(b"1")
    seen = {sources.content("parts")}
    (inner / "b.parquet").write_bytes(b"2")
    seen.add(sources.content("parts"))
    (inner / "b.parquet").rename(inner / "c.parquet")
    seen.add(sources.content("parts"))
    (inner / "c.parquet").write_bytes(b"3")
    seen.add(sources.content("parts"))
    assert len(seen) == 4


def test_bundled_data_is_as_the_installed_version_has_it() -> None:
    assert sources.content("sklearn:diabetes") == ""
    assert sources.content("") == ""


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("nothing.csv", "nothing.csv can't be read"),
        ("memory://bucket/rows.csv", "memory://bucket/rows.csv can't be asked"),
        ("unknown://bucket/rows.csv", "can't be asked"),
        ("filecache::file:///rows.csv", "may be read from a cache"),
    ],
)
def test_what_nobody_can_tell_is_refused(root: Path, source: str, complaint: str) -> None:
    with pytest.raises(SourceError, match=complaint):
        sources.content(source)


class Store(ThreadingHTTPServer):
    """A web server with one file, and the mark that it gives for it."""

    mark = ""


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "8")
        assert isinstance(self.server, Store)
        if self.server.mark:
            self.send_header("ETag", self.server.mark)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.fixture
def store() -> Iterator[Store]:
    with Store(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_remote_file_counts_by_the_mark_that_its_server_gives(store: Store) -> None:
    source = f"http://127.0.0.1:{store.server_port}/rows.csv"
    store.mark = '"one"'
    before = sources.content(source)
    assert sources.content(source) == before
    assert sources.content(f"zip://inner.csv::{source}") == before
    store.mark = '"two"'
    assert sources.content(source) != before


@pytest.mark.parametrize("mark", ["", 'W/"one"'])
def test_a_remote_file_without_a_strong_mark_may_have_changed(store: Store, mark: str) -> None:
    store.mark = mark
    with pytest.raises(SourceError, match="no mark of its content"):
        sources.content(f"http://127.0.0.1:{store.server_port}/rows.csv")


@pytest.mark.parametrize(
    "source", ["http://me:secret@127.0.0.1:9/a.csv", "http://127.0.0.1:9/a.csv?sig=secret"]
)
def test_a_refusal_shows_no_credential(source: str) -> None:
    with pytest.raises(SourceError) as refusal:
        sources.content(source)
    assert "secret" not in str(refusal.value)
    assert refusal.value.__cause__ is None
