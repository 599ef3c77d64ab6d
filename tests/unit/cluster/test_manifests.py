"""The Dockerfile and what an operator applies: they agree with the lock file, the command line and each other.

Nothing is built or applied. Where KubeRay's schemas lie beside the checkout, the manifests are held against them; where
kubectl is at hand, the variants are built with its kustomize.
"""

import importlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.serve import Application
from ray.serve._private.build_app import build_app
from ray.serve.schema import ServeDeploySchema

from pipeline.core import fleet
from tests.support.command_line import parameters
from tests.support.toys import ROOT

KUBERAY = ROOT / "cluster" / "kuberay"
SCHEMAS = ROOT.parent / "shared" / "schemas"
_PLAIN = [path for part in ("", "base/", "redis/", "service/") for path in KUBERAY.glob(f"{part}*.yaml")]  # no patches
MANIFESTS = sorted(path for path in _PLAIN if path.name != "kustomization.yaml")
VARIANTS = ("cpu", "gpu", "spot")
SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)

each_manifest = pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)


def documents(path: Path) -> list[dict[str, Any]]:
    found = [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]
    assert found, f"{path} is empty"
    return found


def built(variant: str) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would apply."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not at hand")
    done = subprocess.run([kubectl, "kustomize", str(KUBERAY / variant)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def one(kind: str) -> dict[str, Any]:
    """The document of this kind, of all manifests."""
    (found,) = [document for path in MANIFESTS for document in documents(path) if document["kind"] == kind]
    return found


def clusters() -> list[dict[str, Any]]:
    """The RayCluster specs: the permanent cluster's, and those that a RayJob and a RayService bring up."""
    brought = one("RayJob")["spec"]["rayClusterSpec"], one("RayService")["spec"]["rayClusterConfig"]
    return [one("RayCluster")["spec"], *brought]


def walk(node: Any) -> Iterator[dict[str, Any]]:
    """Every mapping of a document."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


def pods(applied: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """The pod specs of these documents, or of all manifests."""
    found = applied or [document for path in MANIFESTS for document in documents(path)]
    return [node for node in walk(found) if "containers" in node]


def containers(applied: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    found = [container for pod in pods(applied) for container in pod["containers"]]
    assert found
    return found


def locked(package: str) -> str:
    """The version that requirements.lock pins."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    match = re.search(rf"^{re.escape(package)}==(\S+)", lock, re.MULTILINE)
    assert match, f"{package} is not in requirements.lock"
    return match[1]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (instruction, the rest), comments gone and continued lines joined."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", text)
    return [(line.split(maxsplit=1)[0].upper(), line.split(maxsplit=1)[1]) for line in joined.splitlines() if line]


def build(instruction: str) -> list[str]:
    return [rest for name, rest in instructions() if name == instruction]


def test_there_is_a_cluster_a_job_and_a_service():
    assert {one(kind)["apiVersion"] for kind in ("RayCluster", "RayJob", "RayService")} == {"ray.io/v1"}
    assert one("ConfigMap")["apiVersion"] == "v1"


def problems(document: dict[str, Any]) -> list[str]:
    """What KubeRay's schema has against a document; nothing for other kinds."""
    if not SCHEMAS.is_dir():
        pytest.skip("KubeRay's schemas are not beside this checkout (../shared/schemas)")
    schema = SCHEMAS / f"{document['kind'].lower()}.v1.schema.json"
    if not schema.exists():
        return []
    validator = jsonschema.Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in validator.iter_errors(document)]


@each_manifest
def test_a_manifest_holds_what_kuberays_schema_allows(path: Path):
    for document in documents(path):
        assert not problems(document)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_is_the_base_with_its_own_workers(variant: str):
    applied = {document["kind"]: document for document in built(variant)}
    groups = {group["groupName"]: group for group in applied["RayCluster"]["spec"]["workerGroupSpecs"]}
    assert set(groups) == ({"cpu"} if variant == "cpu" else {"cpu", "gpu"})
    assert {"NetworkPolicy", "PodDisruptionBudget", "StatefulSet"} <= set(applied)
    images = {one["image"] for one in containers(list(applied.values())) if "ray" in one["name"]}
    assert images == {f"huggingtweets-ray:{version()}" + ("-cpu" if variant == "cpu" else "")}
    if "gpu" in groups:
        pod = groups["gpu"]["template"]["spec"]
        assert ("nodeSelector" in pod) == (variant == "spot")
        assert groups["gpu"]["minReplicas"] == 0 < groups["gpu"]["maxReplicas"]
        assert int(pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]) >= 1
        cpu = groups["cpu"]["template"]["spec"]
        for key in ("securityContext", "automountServiceAccountToken"):
            assert pod[key] == cpu[key]
        assert pod["containers"][0]["env"] == cpu["containers"][0]["env"]
    for document in applied.values():
        assert not problems(document)


def test_the_service_is_applied_with_its_redis_and_its_fences():
    applied = built("service")
    kinds = [document["kind"] for document in applied]
    assert {"RayService", "StatefulSet", "NetworkPolicy", "PodDisruptionBudget"} <= set(kinds)
    assert {one["image"] for one in containers(applied) if "ray" in one["name"]} == {
        f"huggingtweets-ray:{version()}-cpu"
    }
    for document in applied:
        assert not problems(document)


def test_the_service_declares_what_there_is_and_no_bots():
    """Each import path leads to an application, each deployment that it changes is there, the config is Serve's."""
    config = ServeDeploySchema(**service_config())
    names = set()
    for application in config.applications:
        module, _, attribute = application.import_path.partition(":")
        built = getattr(importlib.import_module(module), attribute)
        if not isinstance(built, Application):
            built = built(fleet.Fleet(**application.args))
        deployments = {one.name for one in build_app(built, name=application.name).deployments}
        assert {one.name for one in application.deployments} <= deployments
        names.add(application.name)
    assert names == {"gateway", "pool-politicians"}
    service = one("RayService")["spec"]["rayClusterConfig"]
    ports = {
        port["name"]: port["containerPort"]
        for port in service["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"]
    }
    assert (config.http_options.host, config.http_options.port) == ("0.0.0.0", ports["serve"])


def test_the_service_outlives_its_head():
    spec = one("RayService")["spec"]
    assert spec["excludeHeadPodFromServeSvc"] is True
    assert spec["rayClusterConfig"]["gcsFaultToleranceOptions"] == one("RayCluster")["spec"]["gcsFaultToleranceOptions"]
    gateway, pool = service_config()["applications"]
    [gateways] = gateway["deployments"]
    [workers] = spec["rayClusterConfig"]["workerGroupSpecs"]
    assert gateways["max_replicas_per_node"] == 1 < gateways["autoscaling_config"]["min_replicas"]
    [pool_workers] = pool["deployments"]
    assert (
        pool["args"]["serve"]["min_replicas"] > pool_workers["max_replicas_per_node"]
    )  # on two nodes, whatever happens
    assert workers["minReplicas"] > 1


def test_the_service_and_the_job_are_of_one_fleet():
    (text,) = one("ConfigMap")["data"].values()
    trained, served = yaml.safe_load(text), service_config()["applications"][1]["args"]
    assert all(trained[key] == served[key] for key in ("fleet", "tweets", "storage"))


def service_config() -> dict[str, Any]:
    return yaml.safe_load(one("RayService")["spec"]["serveConfigV2"])  # type: ignore[no-any-return]


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_ray_up_takes_the_launchers_file(cloud: str):
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / "cluster" / "launcher" / f"{cloud}.yaml").read_text(encoding="utf-8"))
    validate_config(prepare_config(config))
    assert config["docker"]["image"].endswith(f"huggingtweets-ray:{version()}")
    for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token" in commands[-1]


def test_the_batch_script_is_bash_and_its_commands_are_ours():
    script = ROOT / "cluster" / "slurm" / "fleet.sbatch"
    subprocess.run(["bash", "-n", script], check=True)
    commands = re.findall(r'^"\$bin/huggingtweets" (\w+ "\$fleet".*)$', script.read_text(), re.MULTILINE)
    assert [words.split()[0] for words in commands] == ["doctor", "run"]
    for words in commands:
        parameters("huggingtweets " + words.replace('"$fleet"', "fleet.yaml").replace('"$@"', "--set train.lanes=2"))


def test_nobody_but_the_operator_reaches_the_jobs_api():
    found = [d for path in MANIFESTS for d in documents(path) if d["kind"] == "NetworkPolicy"]
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in found}
    assert set(policies) == {"huggingtweets-ray", "huggingtweets-service", "huggingtweets-redis"}
    for policy in policies["huggingtweets-ray"], policies["huggingtweets-service"]:
        ports = [port["port"] for rule in policy["ingress"] for port in rule.get("ports", [])]
        assert ports.count(8265) == 1
        for rule in policy["ingress"]:
            if 8265 in [port["port"] for port in rule.get("ports", [])]:
                assert [sorted(source) for source in rule["from"]] == [["namespaceSelector", "podSelector"]]
            elif "ports" not in rule:
                assert rule["from"] == [{"podSelector": policy["podSelector"]}]
    service = one("RayService")["spec"]["rayClusterConfig"]
    for group in service["headGroupSpec"], *service["workerGroupSpecs"]:
        assert (
            group["template"]["metadata"]["labels"] == policies["huggingtweets-service"]["podSelector"]["matchLabels"]
        )


def version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def test_every_container_runs_the_same_image_in_the_packages_version():
    (image,) = {container["image"] for container in containers() if "ray" in container["name"]}
    assert image.rpartition(":")[2] == version()


def test_the_manifests_and_the_base_image_have_the_locked_ray():
    assert {spec["rayVersion"] for spec in clusters()} == {locked("ray")}
    base = next(rest for rest in build("ARG") if rest.startswith("BASE_IMAGE="))
    assert base.partition("=")[2].startswith(f"rayproject/ray:{locked('ray')}-py311")


def test_the_jobs_entrypoint_is_a_command_of_ours_on_the_mounted_fleet_file():
    job = one("RayJob")
    arguments = parameters(job["spec"]["entrypoint"])
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    (volume,) = [volume for volume in head["volumes"] if "configMap" in volume]
    (mount,) = [mount for mount in head["containers"][0]["volumeMounts"] if mount["name"] == volume["name"]]
    config = one("ConfigMap")
    assert volume["configMap"]["name"] == config["metadata"]["name"]
    assert arguments["fleet"].parent == Path(mount["mountPath"])
    assert arguments["fleet"].name in config["data"]


def test_the_jobs_fleet_file_loads_and_needs_no_shared_disk(tmp_path: Path):
    (text,) = one("ConfigMap")["data"].values()
    (tmp_path / "fleet.yaml").write_text(text, encoding="utf-8")
    loaded = fleet.load(tmp_path / "fleet.yaml")
    assert loaded.fleet == one("RayJob")["metadata"]["name"]
    assert all("://" in path for path in [loaded.storage, *(source.path for source in loaded.tweets)])


def test_a_job_is_retried_and_its_cluster_goes_away():
    spec = one("RayJob")["spec"]
    assert spec["backoffLimit"] > 0  # safe: the command takes up what is left
    assert spec["shutdownAfterJobFinishes"] is True


def test_a_job_finds_its_gpus_when_it_starts():
    for group in one("RayJob")["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
        assert group["minReplicas"] == group["replicas"] > 0


def test_the_standing_clusters_workers_come_and_go_and_its_head_remembers():
    spec = one("RayCluster")["spec"]
    assert spec["enableInTreeAutoscaling"] is True
    redis = next(d for path in MANIFESTS for d in documents(path) if d["kind"] == "StatefulSet")
    port = redis["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"]
    assert spec["gcsFaultToleranceOptions"]["redisAddress"] == f"{redis['spec']['serviceName']}:{port}"


def test_heads_do_no_work_and_want_the_token():
    for spec in clusters():
        assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        assert spec["authOptions"]["mode"] == "token"
        assert spec["authOptions"]["secretName"]


def test_secrets_come_by_reference_only():
    for path in MANIFESTS:
        assert "Secret" not in {document["kind"] for document in documents(path)}
    variables = [variable for container in containers() for variable in container.get("env", [])]
    secrets = [variable for variable in variables if SECRET.search(variable["name"])]
    assert secrets
    for variable in secrets:
        assert "value" not in variable, variable["name"]
        assert set(variable["valueFrom"]) == {"secretKeyRef"}, variable["name"]


def test_every_pod_runs_as_the_images_ordinary_user():
    user, _, group = build("USER")[-1].partition(":")
    assert len(pods()) > len(clusters())
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        if any("ray" in container["name"] for container in pod["containers"]):
            assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]) == (
                int(user),
                int(group),
            )
    for container in containers():
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_every_container_says_what_it_needs_and_may_take():
    for container in containers():
        for amounts in ("requests", "limits"):
            assert {"cpu", "memory"} <= set(container["resources"][amounts])


def test_the_commands_in_the_readme_are_commands_of_ours():
    text = (ROOT / "cluster" / "README.md").read_text(encoding="utf-8")
    submitted = re.findall(r"^    (huggingtweets submit .+)$", text, re.MULTILINE)
    assert submitted
    for command in submitted:
        assert parameters(command)["address"]


def test_the_image_installs_the_lock_file_then_the_package_without_dependencies():
    runs = build("RUN")
    (lock,) = [i for i, run in enumerate(runs) if "-c /tmp/requirements.lock -r /tmp/requirements.txt" in run]
    (package,) = [i for i, run in enumerate(runs) if "pip install" in run and "--prefix /dist ." in run]
    assert lock < package
    assert "--no-deps" in runs[package]
    assert "requirements.lock pyproject.toml /tmp/" in build("COPY")
    # by COPY, whose cache every builder keys by content: a bind mount's is not, with some
    assert build("COPY")[-2:] == ["--from=dependencies /opt/venv /opt/venv", "--from=package /dist /opt/venv"]


def test_the_image_lists_what_it_consists_of():
    wrote = [step for step in build("RUN") if "cyclonedx-py environment" in step and "/opt/venv/bin/python" in step]
    assert len(wrote) == 1 and "-o /sbom.cdx.json" in wrote[0]
    assert "--from=bill-of-materials /sbom.cdx.json /opt/sbom.cdx.json" in build("COPY")


def test_hadolint_has_nothing_against_the_dockerfile():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_runs_as_a_numbered_user_that_is_not_root():
    user = build("USER")[-1].partition(":")[0]
    assert int(user) > 0  # Kubernetes' runAsNonRoot cannot check a name


def test_the_image_checks_its_health():
    (check,) = build("HEALTHCHECK")
    assert "/api/healthz" in check


def test_the_image_fetches_no_urls_and_holds_no_secrets():
    assert not build("ADD")
    variables = [*build("ARG"), *build("ENV")]
    assert variables and not [name for name in variables if SECRET.search(name)]
    assert not re.search(r"(curl|wget) ", " ".join(build("RUN")))


def test_the_build_context_is_what_the_image_is_made_of():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copies = [copy.split() for copy in build("COPY") if not copy.startswith("--from")]
    assert allowed == {source for *sources, _ in copies for source in sources}
