"""Images of packages: built by Azure, known by the digest that the workspace's registry gives."""

from __future__ import annotations

import _thread
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.azure import names
from tests.azure.cloud import Cloud
from tests.azure.cloud.faults import Fault, cut, lost, refused, server_error, too_many
from tests.azure.cloud.models import Models
from tests.azure.cloud.packages import Registry
from tests.azure.parts import *  # noqa: F403
from tests.utils.conftest import *  # noqa: F403
from utils import files, project, signing_keys
from utils.packaging import Package
from utils.platforms.azureml import environments, inference, logs
from utils.platforms.azureml.workspace import Site
from utils.platforms.protocol import PlatformError
from utils.signing_keys import SigningKey

REFERENCE = re.compile(rf"{names.REGISTRY}\.azurecr\.io/scoring-demo@sha256:[0-9a-f]{{64}}")


@pytest.fixture
def images(site: Any, signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The images of a new workspace."""
    from utils.platforms.azureml.images import AzureImages

    monkeypatch.setenv(signing_keys.KEY_VARIABLE, signing_key.private_pem())
    return AzureImages(site)


def _builds(cloud: Cloud) -> int:
    return sum(call.method == "POST" and call.path.endswith("/packages") for call in cloud.calls)


def test_an_image_is_known_by_the_digest_that_the_registry_gives(
    cloud: Cloud, images: Any, built: Package, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.operations.polls = 3
    image = images.build(built.folder, tmp_path / "image")
    assert REFERENCE.fullmatch(image.reference)
    assert image.reference.endswith(f"@{image.digest}")
    assert ("scoring-demo", image.digest) in cloud.area(Registry).manifests
    assert image.size == sum(layer["size"] for layer in image.layers) > 0
    assert "The image of demo version 3: running buildimage" in capsys.readouterr().err


def test_an_image_is_built_once_for_a_package(
    cloud: Cloud, images: Any, built: Package, challenger: Package, tmp_path: Path
) -> None:
    first = images.build(built.folder, tmp_path / "image")
    assert images.build(built.folder, tmp_path / "image") == first
    assert _builds(cloud) == 1
    assert images.build(challenger.folder, tmp_path / "image") != first
    assert _builds(cloud) == 2


def test_a_build_that_was_interrupted_is_waited_for_again(
    cloud: Cloud, images: Any, built: Package, tmp_path: Path
) -> None:
    cloud.faults.add("GET", "/operations/", [replace(lost(), after=_thread.interrupt_main)])
    with pytest.raises(KeyboardInterrupt):
        images.build(built.folder, tmp_path / "image")
    assert REFERENCE.fullmatch(images.build(built.folder, tmp_path / "image").reference)
    assert _builds(cloud) == 1
    assert len(cloud.area(Models).versions("demo-package")) == 1


@pytest.mark.parametrize("happening", [too_many(0), server_error(503), lost()])
def test_what_fails_in_passing_while_an_image_is_asked_for_is_asked_for_once_more(
    cloud: Cloud, images: Any, built: Package, tmp_path: Path, happening: Fault
) -> None:
    cloud.faults.add("POST", "/packages$", [happening])
    cloud.faults.add("GET", "/operations/", [server_error(500), cut(), too_many(0)])
    cloud.faults.add("GET", "/v2/", [server_error(500)])
    assert REFERENCE.fullmatch(images.build(built.folder, tmp_path / "image").reference)
    assert cloud.faults.left == 0


def test_a_build_that_azure_has_forgotten_is_begun_anew(
    cloud: Cloud, images: Any, built: Package, tmp_path: Path
) -> None:
    record = {"operation": "5b2f4c1e-0000-4000-8000-00000000aaaa", "package": built.digest}
    files.write_json(tmp_path / "image" / "build.json", record)
    assert REFERENCE.fullmatch(images.build(built.folder, tmp_path / "image").reference)
    assert _builds(cloud) == 1


def test_a_build_that_fails_is_told_with_the_end_of_its_log(
    cloud: Cloud, images: Any, built: Package, tmp_path: Path
) -> None:
    cloud.operations.fail("PackageDockerImage", "ImageBuildFailed", "The image build failed.", after=10)
    with pytest.raises(PlatformError) as failed:
        images.build(built.folder, tmp_path / "image")
    first, *others = str(failed.value).splitlines()
    assert "The image of demo version 3 wasn't built: The image build failed (ImageBuildFailed" in first
    assert others[0] == "Its log ends:"
    assert "Building image" in others[1]
    # The next one begins anew, rather than to tell of the one that has failed.
    assert REFERENCE.fullmatch(images.build(built.folder, tmp_path / "image").reference)


def test_without_a_digest_from_the_registry_there_is_no_image(
    cloud: Cloud, images: Any, built: Package, tmp_path: Path
) -> None:
    cloud.area(Registry).silent = True
    with pytest.raises(PlatformError, match=r"has the digest \(none\), but what it answers has sha256:"):
        images.build(built.folder, tmp_path / "image")


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [(401, "UNAUTHORIZED", "HTTP 401"), (404, "MANIFEST_UNKNOWN", "HTTP 404")],
)
def test_a_registry_that_does_not_give_the_image_is_told(
    cloud: Cloud, images: Any, built: Package, tmp_path: Path, status: int, code: str, words: str
) -> None:
    cloud.faults.add("GET", "/v2/", [refused(status, code, "refused")])
    with pytest.raises(PlatformError, match=f"can't be found in the registry.*{words}"):
        images.build(built.folder, tmp_path / "image")


def test_within_a_run_whose_token_azure_resource_manager_does_not_take_the_digest_is_known_all_the_same(
    cloud: Cloud, site: Any, images: Any, built: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments.provision(site)
    monkeypatch.setattr(Site, "inside", True)
    before = len(cloud.calls)
    image = images.build(built.folder, tmp_path / "image")
    assert ("scoring-demo", image.digest) in cloud.area(Registry).manifests
    assert names.MANAGEMENT not in {call.host for call in cloud.calls[before:]}


def test_a_registrys_password_goes_to_no_other_host(monkeypatch: pytest.MonkeyPatch) -> None:
    from utils.platforms.azureml import registries

    monkeypatch.setattr(registries, "_get", lambda *_: pytest.fail("asked"))
    for location in ("evil.azurecr.io/scoring-demo:1", "mlopsregistry.azurecr.io.evil.com/x:1", "no-image"):
        with pytest.raises(PlatformError, match="isn't in the workspace's registry"):
            registries.look(location, "mlopsregistry.azurecr.io", "user", "password")


def test_a_package_that_was_changed_gets_no_image(
    cloud: Cloud, images: Any, package: Path, tmp_path: Path
) -> None:
    (package / "score.py").write_text("print('forged')")
    with pytest.raises(PlatformError, match=r"score\.py was changed"):
        images.build(package, tmp_path / "image")
    assert _builds(cloud) == 0


# ------------------------------------------------------------------ what an image stands on


def test_an_image_holds_what_the_package_pins_and_azures_server(built: Package) -> None:
    lines = inference.requirements(built)
    pins = dict(line.split(" ")[0].split("==") for line in lines)
    own = (built.folder / "requirements.txt").read_text()
    for name in ("numpy", "onnxruntime", "msgspec"):
        assert f"{name}=={pins[name]}" in own
    assert pins["azureml-inference-server-http"].startswith("1.5.")
    assert all("--hash=sha256:" in line for line in lines)
    assert len(pins) == len(lines)


def test_what_azures_server_needs_is_locked_as_the_platforms_own_packages_are() -> None:
    def pins(text: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE):
            found.setdefault(name, set()).add(version)
        return found

    ours = pins((project.root() / "azureml.lock").read_text())
    servers = pins(inference.LOCK.read_text())
    # Of what a package may pin as well: otherwise pip couldn't install both.
    shared = {
        "cffi",
        "click",
        "cryptography",
        "joblib",
        "narwhals",
        "numpy",
        "packaging",
        "pandas",
        "python-dateutil",
    }
    differing = {
        name for name in shared & servers.keys() if not servers[name] <= ours.get(name, servers[name])
    }
    assert differing == set()


def test_a_package_without_hashes_gets_an_image_without_hashes(built: Package, package: Path) -> None:
    text = re.sub(r" \\\n +--hash=\S+", "", (package / "requirements.txt").read_text())
    (package / "requirements.txt").write_text(text)
    lines = inference.requirements(replace(built, folder=package))
    assert not any("--hash" in line for line in lines)


def test_what_is_installed_comes_from_nowhere_but_the_named_channel_and_pins(built: Package) -> None:
    made = inference.environment(built, "a-registry.example/base:1", {"SCORING_PUBLIC_KEY": "abc"})
    needed = made.python.conda_dependencies
    assert [*needed.conda_channels] == ["conda-forge"]
    assert needed.get_python_version() == built.manifest.python
    assert [*needed.pip_options] == []
    assert [*needed.pip_packages] == inference.requirements(built)
    assert made.docker.base_image == "a-registry.example/base:1"
    assert made.environment_variables == {"SCORING_PUBLIC_KEY": "abc"}


# ------------------------------------------------------------------ logs

LOG = """\
2026-11-23T10:00:00,1 I [7] gunicorn.error - Starting gunicorn
Azure ML Inferencing HTTP server v1.5.1
2026-11-23T10:00:01,1 E [8] azmlinfsrv - Encountered Exception Traceback (most recent call last):
  File "/azureml-envs/lib/azureml_inference_server_http/server/user_script.py", line 119, in invoke_init
    self._user_init()
  File "/var/azureml-app/package/scoring/loading.py", line 60, in load
    raise LoadingError(message)
scoring.loading.LoadingError: no signature; AccountKey=c2VjcmV0c2VjcmV0;

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/azureml-envs/lib/azureml_inference_server_http/server/user_script.py", line 121, in invoke_init
    raise UserScriptException(ex) from ex
azureml_inference_server_http.server.user_script.UserScriptException: Caught an unhandled exception

2026-11-23T10:00:01,2 E [7] gunicorn.error - Reason: Worker failed to boot.
"""


def test_of_a_log_the_last_error_of_our_own_code_is_told() -> None:
    assert logs.end(LOG) == [
        '  File "/var/azureml-app/package/scoring/loading.py", line 60, in load',
        "    raise LoadingError(message)",
        "scoring.loading.LoadingError: no signature; AccountKey=…;",
    ]


def test_of_a_log_without_errors_the_last_lines_are_told() -> None:
    assert logs.end("\n".join(f"line {number}" for number in range(50))) == [
        f"line {number}" for number in range(42, 50)
    ]
    assert logs.end("") == []
