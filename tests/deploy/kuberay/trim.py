"""KubeRay's schemas, cut to what our manifests use: python -m tests.deploy.kuberay.trim CRDS

CRDS is the folder ray-operator/config/crd/bases of https://github.com/ray-project/kuberay. A property that no
manifest uses keeps its name, so that an unknown one is still refused, and loses what it may hold.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
MANIFESTS = HERE.parents[2] / "deploy" / "kuberay"
KEPT = ("type", "enum", "required", "minLength", "minimum", "maximum", "format", "pattern", "default")


def manifests() -> list[dict[str, Any]]:
    """Every object of deploy/kuberay."""
    return [one for path in sorted(MANIFESTS.glob("*.yaml")) for one in yaml.safe_load_all(path.read_text())]


def trim(schema: dict[str, Any], used: list[Any]) -> dict[str, Any]:
    """The part of a schema that says something about these values."""
    kept = {name: schema[name] for name in KEPT if name in schema}
    if schema.get("x-kubernetes-int-or-string"):
        kept["type"] = ["integer", "string"]
    if "properties" in schema:
        objects = [value for value in used if isinstance(value, dict)]
        kept["properties"] = {
            name: trim(part, [one[name] for one in objects if name in one])
            if any(name in one for one in objects)
            else {}
            for name, part in schema["properties"].items()
        }
        kept["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = trim(schema["additionalProperties"], [])
    if "items" in schema:
        inner = [one for value in used if isinstance(value, list) for one in value]
        kept["items"] = trim(schema["items"], inner) if inner else {}
    return kept


def main(crds: Path) -> None:
    """Writes a file for each of KubeRay's kinds that the manifests have."""
    for kind in sorted({one["kind"] for one in manifests() if one["apiVersion"] == "ray.io/v1"}):
        crd = yaml.safe_load((crds / f"ray.io_{kind.lower()}s.yaml").read_text())
        (version,) = [one for one in crd["spec"]["versions"] if one["name"] == "v1"]
        used = [one for one in manifests() if one["kind"] == kind]
        schema = trim(version["schema"]["openAPIV3Schema"], used)
        schema["properties"]["metadata"] = {"type": "object"}
        (HERE / f"{kind.lower()}.json").write_text(json.dumps(schema, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
