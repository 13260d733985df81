"""The manifests of the gateway and of Asterisk fit each other, the base, and what both do."""

import re
from pathlib import Path

import pytest
import yaml

from deploy.local.asterisk import CONFIG
from tests.deploy.test_kubernetes import (
    CLOSING_SECONDS,
    KUBERNETES,
    Manifest,
    rendered,
    selects,
)
from tests.harness import ROOT
from worker.errors import ConfigurationError
from worker.gateways.asterisk.settings import AsteriskSettings
from worker.settings import ASTERISK_PREFIX, PREFIX, Gateway, Settings

GATEWAY, ASTERISK, WORKER = "call-control-gateway", "call-control-asterisk", "call-control-worker"


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    """The base with every component, those for calls included."""
    return rendered("example-calls")


def named(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """Return a manifest; those that kustomize generates have a digest behind their name."""
    (found,) = (
        each
        for each in manifests
        if each["kind"] == kind
        and re.fullmatch(rf"{name}(-[a-z0-9]{{10}})?", each["metadata"]["name"])
    )
    return found


def pod_of(manifests: list[Manifest], kind: str, name: str) -> tuple[Manifest, Manifest]:
    """Return a template's pod and its only container."""
    spec: Manifest = named(manifests, kind, name)["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    return spec, container


def environment(manifests: list[Manifest], container: Manifest) -> dict[str, str]:
    """Return the variables that a container gets."""
    maps = {each["metadata"]["name"]: each for each in manifests if each["kind"] == "ConfigMap"}
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= maps[source["configMapRef"]["name"]]["data"]
    return found | {each["name"]: each["value"] for each in container["env"]}


def without_files(variables: dict[str, str]) -> dict[str, str]:
    """Return variables without those that name a file, which is in the pod alone."""
    return {name: value for name, value in variables.items() if not name.endswith("_FILE")}


def test_workers_ask_gateways_and_a_change_of_that_replaces_them(
    manifests: list[Manifest],
) -> None:
    """The name of their settings is another one than without the gateway."""
    _, worker = pod_of(manifests, "Deployment", WORKER)
    settings = Settings.from_environment(without_files(environment(manifests, worker)))
    assert settings.gateway == Gateway.EXTERNAL
    _, before = pod_of(rendered("example"), "Deployment", WORKER)
    assert worker["envFrom"] != before["envFrom"]


def test_the_gateway_gets_the_workers_settings_and_its_own(manifests: list[Manifest]) -> None:
    """And nothing that either refuses, such as what Kubernetes says about the service."""
    pod, container = pod_of(manifests, "Deployment", GATEWAY)
    assert container["args"] == ["gateway", "asterisk"]
    given = without_files(environment(manifests, container))
    assert Settings.from_environment(given).gateway == Gateway.EXTERNAL
    own = AsteriskSettings.from_environment(given)
    service = named(manifests, "Service", ASTERISK)
    (port,) = service["spec"]["ports"]
    assert own.url == f"https://{service['metadata']['name']}:{port['port']}"
    assert pod["enableServiceLinks"] is False
    with pytest.raises(ConfigurationError, match="no such setting"):
        AsteriskSettings.from_environment({f"{ASTERISK_PREFIX}PORT": "tcp://10.0.0.1:8089"})


def test_the_topology_has_the_queue_of_the_gateway(manifests: list[Manifest]) -> None:
    """Which the gateway itself may not declare."""
    _, declaring = pod_of(manifests, "Job", "call-control-topology")
    _, gateway = pod_of(manifests, "Deployment", GATEWAY)
    name = environment(manifests, gateway)[f"{ASTERISK_PREFIX}NAME"]
    assert declaring["args"] == ["topology", "apply", f"--gateway={name}"]


def test_a_rollout_waits_for_no_standby_to_be_active(manifests: list[Manifest]) -> None:
    """The one that stands by answers 503 to /ready for as long as all is well."""
    spec = named(manifests, "Deployment", GATEWAY)["spec"]
    assert spec["replicas"] == 2
    # The new one is there before an old one goes, and does not only live for a moment.
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert spec["minReadySeconds"] >= 5
    pod, container = pod_of(manifests, "Deployment", GATEWAY)
    asked = {name: probe["httpGet"] for name, probe in container.items() if name.endswith("Probe")}
    assert asked == {
        name: {"path": "/live", "port": "http"}
        for name in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    (port,) = container["ports"]
    settings = Settings.from_environment(without_files(environment(manifests, container)))
    assert port == {"name": "http", "containerPort": settings.http_port}
    assert pod["terminationGracePeriodSeconds"] >= settings.grace_seconds + CLOSING_SECONDS


def test_one_that_acts_or_stands_by_is_always_left(manifests: list[Manifest]) -> None:
    """When nodes are drained; and not both on one node, if there are two."""
    template = named(manifests, "Deployment", GATEWAY)["spec"]["template"]
    budget = named(manifests, "PodDisruptionBudget", GATEWAY)["spec"]
    assert budget["maxUnavailable"] == 1
    assert selects(budget["selector"]["matchLabels"], template)
    (spread,) = template["spec"]["topologySpreadConstraints"]
    assert selects(spread["labelSelector"]["matchLabels"], template)
    assert spread["topologyKey"] == "kubernetes.io/hostname"


def test_credentials_are_in_files_of_secrets(manifests: list[Manifest]) -> None:
    """In no variable and in no manifest; both ends know the same password."""
    assert not [each for each in manifests if each["kind"] == "Secret"]
    for kind, name in (("Deployment", GATEWAY), ("StatefulSet", ASTERISK)):
        pod, container = pod_of(manifests, kind, name)
        (volume,) = (each for each in pod["volumes"] if "secret" in each)
        assert volume["secret"]["defaultMode"] == 0o440
        (mount,) = (each for each in container["volumeMounts"] if each["name"] == volume["name"])
        assert mount["readOnly"]
        files = {each["name"]: Path(each["value"]) for each in container["env"]}
        assert f"{ASTERISK_PREFIX}PASSWORD_FILE" in files
        assert all(path.parent == Path(mount["mountPath"]) for path in files.values())
        assert f"{ASTERISK_PREFIX}PASSWORD" not in environment(manifests, container)


def test_each_is_reached_by_its_labels_and_by_nothing_else(manifests: list[Manifest]) -> None:
    """Services, network policies and monitor; workers are not taken for gateways."""
    gateway = named(manifests, "Deployment", GATEWAY)["spec"]["template"]
    asterisk = named(manifests, "StatefulSet", ASTERISK)["spec"]["template"]
    worker = named(manifests, "Deployment", WORKER)["spec"]["template"]
    own = {GATEWAY: gateway, ASTERISK: asterisk, WORKER: worker}
    for name, template in own.items():
        selector = named(manifests, "Service", name)["spec"]["selector"]
        assert [each for each in own.values() if selects(selector, each)] == [template]
    monitored = named(manifests, "ServiceMonitor", WORKER)["spec"]["selector"]["matchLabels"]
    for name in (GATEWAY, WORKER):
        assert selects(monitored, named(manifests, "Service", name))
    shared = named(manifests, "NetworkPolicy", WORKER)["spec"]["podSelector"]["matchLabels"]
    assert selects(shared, gateway)
    # The policy would keep the trunk out, were it enforced for the network of a node.
    assert not selects(shared, asterisk)


def test_only_the_gateway_may_reach_asterisk(manifests: list[Manifest]) -> None:
    """By its port alone: a policy cannot name a pod that has the network of its node."""
    policy = named(manifests, "NetworkPolicy", GATEWAY)["spec"]
    gateway, worker = (
        named(manifests, "Deployment", name)["spec"]["template"] for name in (GATEWAY, WORKER)
    )
    assert selects(policy["podSelector"]["matchLabels"], gateway)
    assert not selects(policy["podSelector"]["matchLabels"], worker)
    (port,) = named(manifests, "Service", ASTERISK)["spec"]["ports"]
    assert policy["egress"] == [{"ports": [{"port": port["port"]}]}]


def test_the_gateway_is_as_confined_as_a_worker(manifests: list[Manifest]) -> None:
    """The same image, by the same user, with nothing to write to."""
    pod, container = pod_of(manifests, "Deployment", GATEWAY)
    worker_pod, worker = pod_of(manifests, "Deployment", WORKER)
    assert container["image"] == worker["image"]
    assert container["securityContext"] == worker["securityContext"]
    for field in ("securityContext", "automountServiceAccountToken", "enableServiceLinks"):
        assert pod[field] == worker_pod[field]
    assert "hostNetwork" not in pod


def test_asterisk_runs_as_its_image_s_user_and_writes_in_places_of_its_own(
    manifests: list[Manifest],
) -> None:
    """What has the password is in memory; its network is the node's, since SIP names addresses."""
    pod, container = pod_of(manifests, "StatefulSet", ASTERISK)
    dockerfile = (ROOT / "deploy" / "asterisk" / "Dockerfile").read_text()
    user = re.search(r"^USER (\d+):(\d+)$", dockerfile, re.MULTILINE)
    assert user
    context = pod["securityContext"]
    assert context["runAsNonRoot"]
    assert (str(context["runAsUser"]), str(context["runAsGroup"])) == user.groups()
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["hostNetwork"]
    assert pod["dnsPolicy"] == "ClusterFirstWithHostNet"
    volumes = {each["name"]: each for each in pod["volumes"]}
    mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
    assert volumes[mounts["/run/asterisk"]["name"]]["emptyDir"]["medium"] == "Memory"
    written = re.search(r"^VOLUME (.+)$", dockerfile, re.MULTILINE)
    assert written
    assert set(written[1].split()) <= set(mounts)


def test_a_change_does_not_end_calls_by_itself(manifests: list[Manifest]) -> None:
    """Asterisk's calls end with it, so it is replaced by hand."""
    spec = named(manifests, "StatefulSet", ASTERISK)["spec"]
    assert spec["updateStrategy"] == {"type": "OnDelete"}
    assert spec["replicas"] == 1


def test_what_asterisk_gets_besides_fits_what_is_shipped(manifests: list[Manifest]) -> None:
    """Additions are to sections that are there, and ARI has TLS where it is looked for."""
    added = named(manifests, "ConfigMap", ASTERISK)["data"]
    assert set(added) == {"http.conf", "pjsip.conf"}
    for name, text in added.items():
        shipped = (CONFIG / name).read_text()
        sections = re.findall(r"^\[(.+?)\](\(\+\))?$", text, re.MULTILINE)
        assert sections
        for section, addition in sections:
            assert addition
            assert f"\n[{section}]\n" in shipped
    _, container = pod_of(manifests, "StatefulSet", ASTERISK)
    values = dict(re.findall(r"^(tls\w+) = (.+)$", added["http.conf"], re.MULTILINE))
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == "secrets")
    assert values["tlscertfile"] == f"{mount['mountPath']}/tls.crt"
    assert values["tlsprivatekey"] == f"{mount['mountPath']}/tls.key"
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert values["tlsbindaddr"] == f"0.0.0.0:{ports['ari']}"
    assert f":{ports['sip']}\n" in (CONFIG / "pjsip.conf").read_text()
    (port,) = named(manifests, "Service", ASTERISK)["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (ports["ari"], "ari")


def test_the_page_makes_the_secrets_that_the_pods_mount(manifests: list[Manifest]) -> None:
    """With the files that are named, whatever they are made of."""
    page = (KUBERNETES / "README.md").read_text()
    made = {
        name: {source.partition("=")[0] for source in re.findall(r"--from-file=(\S+)", rest)}
        for name, rest in re.findall(
            r"kubectl create secret generic (\S+)((?:\s+\\?\s*--from-file=\S+)+)", page
        )
    }
    assert made[GATEWAY] == {"amqp", "password", "ca.pem"}
    assert made[ASTERISK] == {"password", "tls.crt", "tls.key"}
    for kind, name in (("Deployment", GATEWAY), ("StatefulSet", ASTERISK)):
        pod, container = pod_of(manifests, kind, name)
        (volume,) = (each for each in pod["volumes"] if "secret" in each)
        needed = {Path(each["value"]).name for each in container["env"]}
        assert needed <= made[volume["secret"]["secretName"]]
    settings = named(manifests, "ConfigMap", GATEWAY)["data"]
    assert Path(settings["SSL_CERT_FILE"]).name in made[GATEWAY]


def test_every_variable_of_the_gateway_is_a_setting() -> None:
    """Or one of OpenSSL's."""
    lines = (KUBERNETES / "components" / "gateway" / "gateway.env").read_text().splitlines()
    names = {line.partition("=")[0] for line in lines if not line.startswith("#")}
    assert names <= {
        *(f"{ASTERISK_PREFIX}{name.upper()}" for name in AsteriskSettings.model_fields),
        *(f"{PREFIX}{name.upper()}" for name in Settings.model_fields),
        "SSL_CERT_FILE",
    }


def test_both_examples_name_images_of_one_version() -> None:
    """That of the package."""
    tags = {
        each["name"]: each["newTag"]
        for name in ("example", "example-calls")
        for each in yaml.safe_load((KUBERNETES / name / "kustomization.yaml").read_text())["images"]
    }
    assert tags.keys() == {WORKER, ASTERISK}
    assert len(set(tags.values())) == 1
