"""The example for Kubernetes says what the command and its routes know."""

from pathlib import Path
from typing import Any

import pytest
import typer

from flare_serve.commands.serve import app
from tests.flare_serve.served import Served

EXAMPLE = Path(__file__).resolve().parents[3] / "docs" / "examples" / "kubernetes_service.yaml"


@pytest.fixture
def parts() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return {one["kind"]: one for one in yaml.safe_load_all(EXAMPLE.read_text(encoding="utf-8"))}


def test_the_command_takes_its_options(parts: dict[str, Any]) -> None:
    (container,) = parts["Deployment"]["spec"]["template"]["spec"]["containers"]
    python, flag, module, name, *words = container["command"]
    assert (python, flag, module) == ("python3", "-m", "flare_serve")
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    values = command.make_context(name, list(words), resilient_parsing=False).params
    assert values["port"] == container["ports"][0]["containerPort"] == parts["Service"]["spec"]["ports"][0]["port"]
    assert str(values["spool"]) in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(values["token_file"].parent) in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert values["grace"] < parts["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]


def test_one_process_owns_the_spool_at_a_time(parts: dict[str, Any]) -> None:
    spec = parts["Deployment"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_the_probes_are_answered_without_a_token(parts: dict[str, Any], service: Served) -> None:
    (container,) = parts["Deployment"]["spec"]["template"]["spec"]["containers"]
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]
    assert [service.client.get(probe["path"]).status_code for probe in probes] == [200, 200, 200]
    assert {probe["port"] for probe in probes} == {container["ports"][0]["containerPort"]}
