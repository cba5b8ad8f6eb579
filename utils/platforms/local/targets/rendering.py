"""The manifests of a service for Kubernetes, made by kustomize from the folder manifests/."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from utils.platforms.local.settings import Settings
from utils.platforms.local.targets import Site, Version, kubectl
from utils.platforms.local.targets.kubectl import Manifest
from utils.platforms.protocol import PlatformError

FOLDER = Path(__file__).parent / "manifests"

# The names of everything in the base.
BASE = "scoring"
PORT = 5001
KEYS = "keys"

NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
MODEL_VERSION = "app.kubernetes.io/version"
ENVIRONMENT = "mlops/environment"
PACKAGE = "mlops/package"
# Versions that share the requests have the same value of it, and no other version has.
ROUTE = "mlops/route"

# A Service of type LoadBalancer is on the internet unless its cloud is told otherwise: keys would go there
# in clear.
_INTERNAL = {"service.beta.kubernetes.io/azure-load-balancer-internal": "true"}

_LONGEST = 40
# A first part with neither "." nor ":" is no registry's name.
_BY_DIGEST = re.compile(r"(?P<name>[\w-]+[.:][^\s@/]*/[^\s@]+?)(?::[\w.-]+)?@(?P<digest>sha256:[0-9a-f]{64})")


def name(service: str, environment: str) -> str:
    """Name what all versions of a service share in an environment, by the rules that a Service's name has.

    What doesn't keep to the rules is changed, and the digest of the whole name added: two services
    never get the same name.
    """
    whole = f"{service}-{environment}"
    plain = re.sub(r"[^a-z0-9]+", "-", whole.lower()).strip("-")
    if not plain[:1].isalpha():
        plain = f"s-{plain}"
    if plain == whole and len(plain) <= _LONGEST:
        return plain
    mark = hashlib.sha256(whole.encode()).hexdigest()[:6]
    return f"{plain[: _LONGEST - 7].rstrip('-')}-{mark}"


def labels(site: Site) -> dict[str, str]:
    """Return the labels that select everything of a service in an environment."""
    return {NAME: BASE, INSTANCE: name(site.service, site.environment), ENVIRONMENT: site.environment}


def version(site: Site, given: Version, namespace: str) -> dict[str, Manifest]:
    """Build what a version has for itself.

    Parameters
    ----------
    site : Site
    given : Version
        Its image has to be named by a registry and a digest.
    namespace : str

    Returns
    -------
    dict
        By kind: Deployment, HorizontalPodAutoscaler, PodDisruptionBudget.

    Raises
    ------
    PlatformError
        If the image can't be pulled by its name, or there is no overlay for the environment.
    """
    image = _BY_DIGEST.fullmatch(given.image)
    if image is None:
        raise PlatformError(
            f"Kubernetes pulls images from a registry, by digest; {given.image or 'no image'!r} is none "
            "such: set serving.registry in parameters/local.yml, and package again."
        )
    shared = name(site.service, site.environment)
    own = f"{shared}-{given.digest[:12]}"
    kustomization = {
        "images": [{"name": BASE, "newName": image["name"], "digest": image["digest"]}],
        "labels": [
            {"pairs": {INSTANCE: shared, PACKAGE: given.digest[:12]}, "includeSelectors": True},
            {"pairs": {MODEL_VERSION: _label(given.model_version)}, "includeTemplates": True},
        ],
        "patches": [
            _patch("Deployment", _deployment(site, given)),
            *_sizes(site.settings),
            *(
                _renamed(kind, own)
                for kind in ("Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget")
            ),
        ],
    }
    made = _build(site.environment, "version", namespace, kustomization)
    # The settings may ask for more pods than the overlay allows.
    bounds = made["HorizontalPodAutoscaler"]["spec"]
    bounds["maxReplicas"] = max(bounds["minReplicas"], bounds["maxReplicas"])
    return made


def endpoint(site: Site, selector: Mapping[str, str], namespace: str) -> dict[str, Manifest]:
    """Build what all versions share: NetworkPolicy and the Service, which leads to pods with these labels.

    Raises
    ------
    PlatformError
        If there is no overlay for the environment.
    """
    shared = name(site.service, site.environment)
    service: Manifest = {"spec": {"selector": dict(selector)}}
    if site.settings.exposure == "load_balancer":
        service["spec"]["type"] = "LoadBalancer"
        service["metadata"] = {"annotations": _INTERNAL}
    kustomization = {
        "labels": [{"pairs": {INSTANCE: shared}, "includeSelectors": True}],
        "patches": [
            _patch("Service", service),
            *(_renamed(kind, shared) for kind in ("Service", "NetworkPolicy")),
        ],
    }
    return _build(site.environment, "endpoint", namespace, kustomization)


def keys(site: Site) -> Manifest:
    """Return the Secret with the endpoint's keys.

    Raises
    ------
    PlatformError
        If the file of the keys can't be read.
    """
    try:
        content = site.keys.read_bytes()
    except OSError as error:
        raise PlatformError(f"The API keys can't be read: {error}") from error
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": _secret(site), "labels": labels(site)},
        "type": "Opaque",
        "data": {KEYS: base64.b64encode(content).decode()},
    }


def _secret(site: Site) -> str:
    return f"{name(site.service, site.environment)}-{KEYS}"


def _deployment(site: Site, given: Version) -> Manifest:
    environment = [{"name": "SCORING_PUBLIC_KEY", "value": site.public_keys}] if site.public_keys else []
    workers = ["--workers", str(site.settings.workers)] if site.settings.workers > 1 else []
    container = {
        "name": BASE,
        "args": ["--port", str(PORT), *workers],
        "env": environment,
        # Every two seconds, as the base has it.
        "startupProbe": {"failureThreshold": max(1, math.ceil(site.settings.start_seconds / 2))},
    }
    volume = {"name": "keys", "secret": {"secretName": _secret(site)}}
    cause = f"package {given.digest[:12]}, model version {given.model_version}"
    return {
        "metadata": {
            "annotations": {
                "mlops/digest": given.digest,
                "mlops/model-version": given.model_version,
                "mlops/service": site.service,
                "kubernetes.io/change-cause": cause,
            }
        },
        "spec": {
            "template": {
                "metadata": {"labels": {ROUTE: given.digest[:12]}},
                "spec": {"containers": [container], "volumes": [volume]},
            }
        },
    }


def _sizes(settings: Settings) -> list[Manifest]:
    """Change what the overlay says of the number of pods and their sizes, if the settings give it."""
    patches = []
    if "replicas" in settings.model_fields_set:
        patches += [
            _patch("Deployment", {"spec": {"replicas": settings.replicas}}),
            _patch("HorizontalPodAutoscaler", {"spec": {"minReplicas": settings.replicas}}),
        ]
    size = {}
    if "memory" in settings.model_fields_set:
        size["memory"] = settings.memory.replace("m", "Mi").replace("g", "Gi")
    if "cpus" in settings.model_fields_set:
        size["cpu"] = f"{round(settings.cpus * 1000)}m"
    if size:
        container = {"name": BASE, "resources": {"requests": size, "limits": size}}
        patches.append(_patch("Deployment", {"spec": {"template": {"spec": {"containers": [container]}}}}))
    return patches


def _patch(kind: str, change: Manifest) -> Manifest:
    whole = {"apiVersion": "any", "kind": kind, **change}
    whole["metadata"] = {"name": BASE, **change.get("metadata", {})}
    return {"target": {"kind": kind}, "patch": json.dumps(whole)}


def _renamed(kind: str, new: str) -> Manifest:
    # kustomize follows the change to what refers to it: an autoscaler names its Deployment.
    change = [{"op": "replace", "path": "/metadata/name", "value": new}]
    return {"target": {"kind": kind}, "patch": json.dumps(change), "options": {"allowNameChange": True}}


def _label(text: str) -> str:
    """Return a text as the value of a label may be."""
    return re.sub(r"[^\w.-]", "_", text, flags=re.ASCII)[:63].strip("_.-")


def _build(
    environment: str, part: str, namespace: str, kustomization: Mapping[str, Any]
) -> dict[str, Manifest]:
    overlays = sorted(path.name for path in (FOLDER / "overlays").iterdir() if path.is_dir())
    if environment not in overlays:
        raise PlatformError(
            f"There is no overlay for the environment {environment} in {FOLDER / 'overlays'}: "
            f"there are {', '.join(overlays)}."
        )
    whole = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": namespace,
        # kustomize takes no absolute path.
        "resources": [f"../manifests/overlays/{environment}/{part}"],
        **kustomization,
    }
    made = yaml.safe_load_all(_rendered(json.dumps(whole)))
    return {str(each["kind"]): each for each in made}


@functools.lru_cache(maxsize=32)  # what is started is soon routed
def _rendered(kustomization: str) -> str:
    with tempfile.TemporaryDirectory(prefix="mlops.") as aside:
        shutil.copytree(FOLDER, Path(aside) / "manifests")
        folder = Path(aside) / "this"
        folder.mkdir()
        (folder / "kustomization.yaml").write_text(kustomization, encoding="utf-8")
        return kubectl.kustomize(folder)
