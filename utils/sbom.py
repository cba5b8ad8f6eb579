"""The software bill of materials of a package: its model, and every distribution that the service imports.

It is CycloneDX, which scanners read. It holds neither a time nor a random number: the same package has
the same bytes.

References
----------
OWASP, "CycloneDX specification 1.6", https://cyclonedx.org/docs/1.6/json/
"Package URL", https://github.com/package-url/purl-spec
"""

from __future__ import annotations

import importlib.metadata
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from utils import files

if TYPE_CHECKING:
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License

FILE = "sbom.cdx.json"
MODELS = ("model.onnx", "model.skops")


_LINE = re.compile(r"([A-Za-z0-9][\w.-]*)==([^\s;,*]+)((?:\s+--hash=sha256:[0-9a-f]{64})*)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


class SbomError(RuntimeError):
    """A package's parts can't be listed; the message says why and what to do next."""


@dataclass(frozen=True)
class Pin:
    """A line of requirements.txt: one version of a distribution, and the SHA-256 of each file it comes as."""

    name: str
    version: str
    hashes: tuple[str, ...]


def write(folder: Path, *, name: str, version: str) -> Path:
    """Write what a package consists of into sbom.cdx.json.

    Parameters
    ----------
    folder : Path
        Holds requirements.txt and the model file.
    name, version : str
        Of the registered model.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    SbomError
        If a requirement isn't pinned, or there isn't just one model file.
    """
    models = [folder / file for file in MODELS if (folder / file).is_file()]
    if len(models) != 1:
        raise SbomError(f"{folder} should hold one of {' and '.join(MODELS)}: build the package again.")
    text = (folder / "requirements.txt").read_text(encoding="utf-8")
    return files.write_text(folder / FILE, document(text, models[0], name=name, version=version))


def document(requirements: str, model: Path, *, name: str, version: str) -> str:
    """Return the bill of materials as JSON.

    Parameters
    ----------
    requirements : str
        What requirements.txt holds. Licences, and what requires what, are taken from the installed
        distributions where these are of the same version.
    model : Path
        The model file.
    name, version : str
        Of the registered model.

    Raises
    ------
    SbomError
        If a requirement isn't pinned.
    """
    # Here, not above: only the package step needs it.
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.output.json import JsonV1Dot6

    parts = {pin.name: _distribution(pin) for pin in pins(requirements)}
    whole = _model(model, name, version)
    bom = Bom(metadata=BomMetaData(component=whole), components=parts.values())
    bom.register_dependency(whole, parts.values())
    for distribution, part in parts.items():
        required = _required(distribution) if _installed(distribution, part.version) else set()
        bom.register_dependency(part, [parts[other] for other in sorted(required & parts.keys())])
    record = json.loads(JsonV1Dot6(bom).output_as_string())
    del record["serialNumber"], record["metadata"]["timestamp"]
    return json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def pins(requirements: str) -> list[Pin]:
    r"""Read requirements.txt as a package has it: ``name==version``, with ``--hash=sha256:…`` or without.

    Raises
    ------
    SbomError
        If a line is anything else: it would be missing from the list.
    """
    from packaging.utils import canonicalize_name

    found = []
    for line in requirements.replace("\\\n", " ").splitlines():
        stated = line.partition("#")[0].strip()
        if not stated:
            continue
        match = _LINE.fullmatch(stated)
        if match is None:
            raise SbomError(f"The requirement {stated[:80]!r} is not pinned as name==version: pin it.")
        found.append(Pin(canonicalize_name(match[1]), match[2], tuple(_HASH.findall(match[3]))))
    return found


def _distribution(pin: Pin) -> Component:
    from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    purl = PackageURL("pypi", name=pin.name, version=pin.version)
    # One of several files is installed, so that their digests aren't the component's own.
    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in pin.hashes]
    files_of_it = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION, url=XsUri(purl.to_string()), hashes=hashes
    )
    return Component(
        type=ComponentType.LIBRARY,
        name=pin.name,
        version=pin.version,
        purl=purl,
        bom_ref=purl.to_string(),
        licenses=_licences(pin.name) if _installed(pin.name, pin.version) else (),
        external_references=[files_of_it] if hashes else (),
    )


def _model(file: Path, name: str, version: str) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=name,
        version=version,
        bom_ref=f"model:{name}@{version}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=files.sha256(file))],
        properties=[
            Property(name="mlops:file", value=file.name),
            Property(name="mlops:format", value=file.suffix.removeprefix(".")),
        ],
    )


def _installed(name: str, version: str | None) -> bool:
    try:
        return importlib.metadata.version(name) == version
    except importlib.metadata.PackageNotFoundError:
        return False


def _required(name: str) -> set[str]:
    """Return what a distribution requires on this machine, without its extras."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    wanted = (Requirement(line) for line in importlib.metadata.requires(name) or [])
    return {
        str(canonicalize_name(each.name))
        for each in wanted
        if each.marker is None or each.marker.evaluate({"extra": ""})
    }


def _licences(name: str) -> list[License]:
    """Return the licences that a distribution declares: by its expression, its classifiers, or a short text.

    References
    ----------
    PEP 639, https://peps.python.org/pep-0639/
    """
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.license import LicenseAcknowledgement

    metadata = importlib.metadata.metadata(name)
    (expression,) = (metadata.get_all("License-Expression") or [""])[:1]
    (text,) = (metadata.get_all("License") or [""])[:1]
    classified = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License :: ") and line != "License :: OSI Approved"
    ]
    short = [text] if text and len(text) <= 80 and "\n" not in text else []
    declared = [expression] if expression else classified or short
    make = LicenseFactory().make_from_string
    return [make(each, license_acknowledgement=LicenseAcknowledgement.DECLARED) for each in declared]
