"""The manifests are valid, fit each other, and say about a worker what is true of it."""

import re
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate  # type: ignore[import-untyped] # it carries none
from yarl import URL

from deploy.local import Services
from tests.guarded import Guarded, Management, guarded_installation
from tests.harness import ROOT
from tests.tools import unavailable
from worker.broker.declaring import declare
from worker.broker.topology import topology
from worker.errors import ConfigurationError
from worker.names import Names
from worker.settings import PREFIX, Settings

KUBERNETES = ROOT / "deploy" / "kubernetes"

#: The oldest release whose fields the manifests keep to, and the newest that is known here.
VERSIONS = ("1.30.0", "1.37.0")

#: Kinds that come with an operator, and not with Kubernetes.
FOREIGN = {"ScaledObject", "TriggerAuthentication", "ServiceMonitor"}

#: Seconds that closing the connections may take after the drain, when nobody answers.
CLOSING_SECONDS = 8

Manifest = dict[str, Any]


def rendered(name: str) -> list[Manifest]:
    """Return what `kubectl apply -k` would apply."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        unavailable("kubectl is not on PATH")
    command = [kubectl, "kustomize", str(KUBERNETES / name)]
    done = subprocess.run(  # noqa: S603 - a program of this machine, on files of this repository
        command, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    """The base with every component."""
    return rendered("example")


@pytest.fixture(scope="module")
def settings(manifests: list[Manifest]) -> Settings:
    """The settings that the workers get."""
    return Settings.from_environment(one(manifests, "ConfigMap")["data"])


@pytest.fixture
async def guarded(services: Services) -> AsyncIterator[Guarded]:
    """An installation at a RabbitMQ with the users of deploy/."""
    async with guarded_installation(services) as made:
        yield made


def one(manifests: list[Manifest], kind: str) -> Manifest:
    """Return the manifest of a kind."""
    (found,) = (each for each in manifests if each["kind"] == kind)
    return found


def pods(manifests: list[Manifest]) -> list[Manifest]:
    """Return the templates of all pods: the workers', and the one that declares."""
    return [one(manifests, kind)["spec"]["template"] for kind in ("Deployment", "Job")]


def rabbitmq_trigger(manifests: list[Manifest]) -> Manifest:
    """Return what tells KEDA to count commands."""
    triggers = one(manifests, "ScaledObject")["spec"]["triggers"]
    (found,) = (each for each in triggers if each["type"] == "rabbitmq")
    trigger: Manifest = found
    return trigger


def worker_of(manifests: list[Manifest]) -> tuple[Manifest, Manifest]:
    """Return the workers' pod and its container."""
    pod, _ = pods(manifests)
    (container,) = pod["spec"]["containers"]
    return pod["spec"], container


def selects(selector: Mapping[str, str], pod: Manifest) -> bool:
    """Tell whether a selector's labels are all on a pod."""
    labels: dict[str, str] = pod["metadata"]["labels"]
    return selector.items() <= labels.items()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["base", "example", "example-calls"])
def test_manifests_are_what_kubernetes_takes(name: str, version: str) -> None:
    """And have no field that it does not know."""
    checked = [each for each in rendered(name) if each["kind"] not in FOREIGN]
    assert checked
    for manifest in checked:
        validate(manifest, version, strict=True)


def test_the_base_needs_no_operator() -> None:
    """What a cluster may lack is in components."""
    assert not FOREIGN & {each["kind"] for each in rendered("base")}
    assert {each["kind"] for each in rendered("example")} >= FOREIGN


def test_every_file_is_part_of_something() -> None:
    """A manifest that no kustomization lists would be applied by nobody."""
    listed = set()
    for kustomization in KUBERNETES.rglob("kustomization.yaml"):
        content = yaml.safe_load(kustomization.read_text())
        names = [*content.get("resources", []), *content.get("components", [])]
        for each in content.get("configMapGenerator", []):
            names += [*each.get("envs", []), *each.get("files", [])]
        listed |= {(kustomization.parent / name).resolve() for name in names}
    there = {path for path in KUBERNETES.rglob("*") if path.is_file() and path.suffix != ".md"}
    assert {path for path in there if path.name != "kustomization.yaml"} == {
        path for path in listed if path.is_file()
    }
    assert all(path.exists() for path in listed)


def test_a_pod_has_longer_than_a_drain_takes(manifests: list[Manifest], settings: Settings) -> None:
    """Killed before, it would lose nothing, but its calls would pause."""
    pod, container = worker_of(manifests)
    assert pod["terminationGracePeriodSeconds"] >= settings.grace_seconds + CLOSING_SECONDS
    # A hook would take its time out of the same period.
    assert "lifecycle" not in container


def test_probes_ask_a_worker_for_what_it_answers(
    manifests: list[Manifest], settings: Settings
) -> None:
    """Only its being alive restarts it."""
    _, container = worker_of(manifests)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": settings.http_port}
    asked = {
        name: container[name]["httpGet"]
        for name in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert asked == {
        "startupProbe": {"path": "/live", "port": "http"},
        "livenessProbe": {"path": "/live", "port": "http"},
        "readinessProbe": {"path": "/ready", "port": "http"},
    }
    served = (ROOT / "worker" / "health.py").read_text()
    assert all(f'"{path}"' in served for path in ("/live", "/ready", "/metrics"))


def test_there_are_never_more_workers_than_partitions_nor_one_alone(
    manifests: list[Manifest], settings: Settings
) -> None:
    """One more would have nothing to do; one alone has no standby."""
    scaled = one(manifests, "ScaledObject")["spec"]
    assert scaled["maxReplicaCount"] == settings.partitions
    assert settings.partitions == Settings.from_environment({}).partitions
    assert scaled["minReplicaCount"] == 2
    deployment = one(manifests, "Deployment")
    assert scaled["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    # Else each apply would undo what KEDA does.
    assert "replicas" not in deployment["spec"]
    assert one(rendered("base"), "Deployment")["spec"]["replicas"] == 2


def test_keda_counts_the_commands_of_all_partitions_and_nothing_else(
    manifests: list[Manifest], settings: Settings
) -> None:
    """RabbitMQ searches for the pattern; one page of its answer holds all partitions."""
    trigger = rabbitmq_trigger(manifests)
    metadata = trigger["metadata"]
    names = Names(settings.namespace)
    pattern = re.compile(metadata["queueName"])
    assert all(pattern.search(names.partition(n)) for n in range(settings.partitions))
    others = (names.journal, names.dead_letters, f"{names.base}.subscriber.billing")
    assert not any(pattern.search(name) for name in others)
    assert int(metadata["pageSize"]) >= settings.partitions
    reference = trigger["authenticationRef"]["name"]
    assert one(manifests, "TriggerAuthentication")["metadata"]["name"] == reference


async def test_rabbitmq_answers_keda_with_the_partitions(
    manifests: list[Manifest], guarded: Guarded
) -> None:
    """To a user who may look at queues, and do nothing with them."""
    names, partitions = guarded.names, guarded.calls.settings.partitions
    connection = guarded.calls.connection
    await declare(connection, topology(names, partitions))
    user, password = f"{names.base}.keda", secrets.token_hex(8)
    body = {"password": password, "tags": "monitoring"}
    await guarded.management("PUT", f"users/{user}", body)
    nothing = {"configure": "^$", "write": "^$", "read": "^$"}
    await guarded.management("PUT", f"permissions/%2F/{user}", nothing)
    metadata = rabbitmq_trigger(manifests)["metadata"]
    # As the page says for a namespace; and as KEDA asks (pkg/scalers/rabbitmq_scaler.go).
    pattern = metadata["queueName"].replace("^", f"^{guarded.calls.settings.namespace}[.]")
    asked = {
        "page": "1",
        "use_regex": metadata["useRegex"],
        "pagination": "false",
        "name": pattern,
        "page_size": metadata["pageSize"],
    }
    url = URL(guarded.management.url).with_user(user).with_password(password)
    try:
        query = URL.build(query=asked).raw_query_string
        answer = await Management(str(url))("GET", f"queues/%2F?{query}")
    finally:
        await guarded.management("DELETE", f"users/{user}")
    found = {queue["name"] for queue in answer["items"]}
    assert found == {names.partition(number) for number in range(partitions)}


def test_pods_get_settings_and_no_variable_that_a_worker_refuses(
    manifests: list[Manifest],
) -> None:
    """Kubernetes would add some for each service whose name begins with call-control."""
    config = one(manifests, "ConfigMap")["metadata"]["name"]
    for pod in pods(manifests):
        (container,) = pod["spec"]["containers"]
        assert container["envFrom"] == [{"configMapRef": {"name": config}}]
        known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
        assert {each["name"] for each in container["env"]} <= known
        assert pod["spec"]["enableServiceLinks"] is False
    with pytest.raises(ConfigurationError, match="no such setting"):
        Settings.from_environment({"CALL_CONTROL_WORKER_PORT": "tcp://10.0.0.1:8080"})


def test_credentials_are_in_files_of_secrets_and_nowhere_else(manifests: list[Manifest]) -> None:
    """No manifest carries one, and no variable."""
    assert not [each for each in manifests if each["kind"] == "Secret"]
    for pod in pods(manifests):
        (container,) = pod["spec"]["containers"]
        (volume,) = pod["spec"]["volumes"]
        (mount,) = container["volumeMounts"]
        assert mount["name"] == volume["name"]
        assert mount["readOnly"]
        assert set(volume) == {"name", "secret"}
        for variable in container["env"]:
            assert variable["name"].endswith("_URL_FILE")
            assert Path(variable["value"]).parent == Path(mount["mountPath"])


def test_what_selects_workers_selects_them(manifests: list[Manifest]) -> None:
    """Deployment, budget, service, network and monitor agree about the labels."""
    workers, declaring = pods(manifests)
    for kind in ("Deployment", "PodDisruptionBudget"):
        assert selects(one(manifests, kind)["spec"]["selector"]["matchLabels"], workers)
    service = one(manifests, "Service")
    assert selects(service["spec"]["selector"], workers)
    assert not selects(service["spec"]["selector"], declaring)
    monitor = one(manifests, "ServiceMonitor")["spec"]
    assert selects(monitor["selector"]["matchLabels"], service)
    assert {each["port"] for each in monitor["endpoints"]} == {
        each["name"] for each in service["spec"]["ports"]
    }
    network = one(manifests, "NetworkPolicy")["spec"]
    for pod in pods(manifests):
        assert selects(network["podSelector"]["matchLabels"], pod)


def test_pods_may_reach_rabbitmq_redis_and_names_and_nothing_else(
    manifests: list[Manifest],
) -> None:
    """By the labels that these have elsewhere, with nothing of ours added."""
    reachable = {}
    for rule in one(manifests, "NetworkPolicy")["spec"]["egress"]:
        (peer,) = rule["to"]
        selector = peer.get("podSelector") or peer["namespaceSelector"]
        (label,) = selector["matchLabels"].items()
        reachable[label] = {port["port"] for port in rule["ports"]}
    assert reachable == {
        ("app.kubernetes.io/name", "rabbitmq"): {5671, 5672},
        ("app.kubernetes.io/name", "redis"): {6379, 26379},
        ("kubernetes.io/metadata.name", "kube-system"): {53},
    }


def security(manifests: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield each pod's security context and its container's."""
    for pod in pods(manifests):
        (container,) = pod["spec"]["containers"]
        yield pod["spec"]["securityContext"], container["securityContext"]


def test_pods_meet_the_restricted_standard_as_the_image_s_user(manifests: list[Manifest]) -> None:
    """Kubernetes' own strictest profile (Pod Security Standards), and nothing to write to."""
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    user = re.search(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)
    assert user
    for pod, container in security(manifests):
        assert pod["runAsNonRoot"]
        assert (str(pod["runAsUser"]), str(pod["runAsGroup"])) == user.groups()
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert all(pod["spec"]["automountServiceAccountToken"] is False for pod in pods(manifests))
