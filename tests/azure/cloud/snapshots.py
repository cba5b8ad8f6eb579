"""Snapshots of source folders: a tree of names and hashes, and a blob for each file that is new in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.azure.cloud.exact import NotExactError
from tests.azure.cloud.routing import WORKSPACE, Answer, Request, identity, missing, refused, route
from tests.azure.cloud.server import Cloud

CONTAINER = "azureml"
CONTENT = "/content/v2.0" + WORKSPACE + "/snapshots"
_SENT = {"ParentSnapshotId", "Tags", "Properties", "DirTreeNode", "FileRevisionList"}


@dataclass(frozen=True)
class Snapshot:
    """A folder as it was.

    Attributes
    ----------
    tree : dict
        As the SDK writes it.
    files : dict
        The blob of each file, by its path.
    properties : dict
        What the SDK says of where it comes from.
    """

    tree: dict[str, Any]
    files: dict[str, str]
    properties: dict[str, str]


@dataclass
class Snapshots:
    """All of them, by id, the newest last."""

    found: dict[str, Snapshot] = field(default_factory=dict)

    def restore(self, cloud: Cloud, snapshot: str, folder: Path) -> None:
        """Write the files of a snapshot below a folder."""
        for name, blob in self.found[snapshot].files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            content = cloud.blobs.get_blob_client(CONTAINER, blob).download_blob().readall()
            target.write_bytes(content)


@route("GET", "/content/v1.0" + WORKSPACE + "/snapshots/latest/metadata")
def latest(cloud: Cloud, request: Request) -> Answer:
    """Return the tree of the newest snapshot, from which the SDK tells what is new."""
    found = cloud.area(Snapshots).found
    if not found:
        return Answer(body={"root": {}, "id": None})
    newest = list(found)[-1]
    return Answer(body={"root": found[newest].tree, "id": newest})


@route("POST", CONTENT + "/getblob")
def addresses(cloud: Cloud, request: Request) -> Answer:
    """Give an address for each file that is to be uploaded."""
    home = f"snapshots/{identity()}"
    names = _of(request.json, "FileNames", list)
    nodes = [{"fullName": name, "blobUri": cloud.signed(CONTAINER, f"{home}/{name}")} for name in names]
    return Answer(body={"fileNodes": nodes})


@route("POST", CONTENT + "/{snapshot}")
def create(cloud: Cloud, request: Request) -> Answer:
    """Take a snapshot whose new files have been uploaded."""
    sent, snapshots = request.json, cloud.area(Snapshots)
    if set(sent) != _SENT:
        raise NotExactError(f"a snapshot has {sorted(_SENT)}, not {sorted(sent)}")
    parent = snapshots.found.get(sent["ParentSnapshotId"] or "")
    if sent["ParentSnapshotId"] and parent is None:
        return missing("UserError", f"There is no snapshot {sent['ParentSnapshotId']}.")
    blobs = {each["FullName"]: _blob(each["BlobUri"]) for each in sent["FileRevisionList"]["FileNodes"]}
    files = {}
    for name in _files(sent["DirTreeNode"]):
        blob = blobs.get(name) or (parent.files.get(name) if parent else None)
        if blob is None or not cloud.blobs.get_blob_client(CONTAINER, blob).exists():
            return refused(400, "UserError", f"The file {name} of the snapshot hasn't been uploaded.")
        files[name] = blob
    snapshots.found[request.names["snapshot"]] = Snapshot(sent["DirTreeNode"], files, sent["Properties"])
    return Answer(body={"id": request.names["snapshot"]})


def _files(node: dict[str, Any], before: str = "") -> Iterator[str]:
    """Yield the paths of a tree's files."""
    for child in _of(node, "children", dict).values():
        path = str(PurePosixPath(before) / child["name"])
        if child["type"] == "File":
            yield path
        else:
            yield from _files(child, path)


def _blob(address: str) -> str:
    """Return a blob's name from its signed address."""
    return unquote(urlsplit(address).path).removeprefix(f"/{CONTAINER}/")


def _of(data: Any, name: str, kind: type) -> Any:
    if not isinstance(data, dict) or not isinstance(data.get(name), kind):
        raise NotExactError(f"{name} is missing, or no {kind.__name__}")
    return data[name]
