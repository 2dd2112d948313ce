"""config/schema.json: what a configuration file may look like, for editors. JSON Schema 2020-12, in words that older editors know too.

Everything in it comes from the settings models. What a model cannot say (references to tenants, timeout against interval) is left to
`fogbell check`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from agent.config.keys import Defaults, Keys
from probes import REGISTRY
from probes.core.contract import Probe, Secret
from probes.lib.durations import TEXT_PATTERN, Duration
from probes.lib.tenant import Tenant

Node = dict[str, Any]
"""A part of a JSON Schema."""

SECRET: Node = {
    "description": "Where a secret is found.",
    "oneOf": [
        {
            "type": "object",
            "properties": {name: {"type": "string", "description": Secret.model_fields[name].description}},
            "required": [name],
            "additionalProperties": False,
        }
        for name in ("env", "file")
    ],
}
_BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}


class _AsWritten(GenerateJsonSchema):
    """The schema of what people write, which may be more than the type a setting has afterwards."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's name
        """Leave titles out: they only repeat the key."""
        return False

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """Say what a function takes that reads before the type: durations for a number, a number for a text, false for the word off."""
        inner = super().function_before_schema(schema)
        if "off" in inner.get("enum", ()):
            return {"enum": [*inner["enum"], False]}
        if inner.get("type") == "number":
            return {"anyOf": [inner, {"type": "string", "pattern": TEXT_PATTERN}]}
        return {"anyOf": [{"type": "integer"}, inner]} if inner.get("type") == "string" else inner


DURATION: Node = TypeAdapter(Duration).json_schema(schema_generator=_AsWritten)


@dataclass(frozen=True, slots=True)
class Models:
    """Settings models as JSON Schema: `parts` by name, and the name of each model's own part."""

    parts: dict[str, Node]
    names: dict[type[Any], str]

    def of(self, model: type[BaseModel]) -> Node:
        """Return the part of a model."""
        return self.parts[self.names[model]]


def read_models(registry: Mapping[str, Probe[Any]] = REGISTRY) -> Models:
    """Return all settings models that a configuration is made of."""
    models: list[type[BaseModel]] = [Defaults, Keys, Tenant, *(probe.settings for probe in registry.values())]
    keyed, whole = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)], ref_template="#/$defs/{model}", schema_generator=_AsWritten
    )
    parts = {name: _tidy(part) for name, part in whole["$defs"].items()}
    parts[Secret.__name__] = SECRET
    return Models(parts, {model: reference["$ref"].rpartition("/")[2] for (model, _), reference in keyed.items()})


def _tidy(node: Any) -> Any:
    """Return a part without what only models need: titles of models, defaults that repeat a block, line ends in texts."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    tidied: Node = {_BOUNDS.get(str(key), str(key)): _tidy(value) for key, value in node.items()}
    if isinstance(tidied.get("description"), str):
        tidied["description"] = " ".join(tidied["description"].split())
    if isinstance(tidied.get("title"), str):
        del tidied["title"]
    if "default" in tidied and (tidied["default"] is None or isinstance(tidied["default"], dict)):
        del tidied["default"]
    return _with_bounds_inside(tidied)


def _with_bounds_inside(node: Node) -> Node:
    """Move bounds that stand beside alternatives to the number among them, for which alone they count."""
    bounds = {key: node[key] for key in _BOUNDS.values() if key in node and "anyOf" in node}
    if not bounds:
        return node
    inside = [{**choice, **bounds} if choice.get("type") == "number" else choice for choice in node["anyOf"]]
    return {**{key: value for key, value in node.items() if key not in bounds}, "anyOf": inside}


def schema(registry: Mapping[str, Probe[Any]] = REGISTRY) -> Node:
    """Return the whole schema."""
    models = read_models(registry)
    own = {models.names[probe.settings] for probe in registry.values()} | {models.names[Keys]}
    blocks = {name: part for name, part in models.parts.items() if name not in own}
    kinds = {f"probe_{kind}": _kind(models, kind, probe) for kind, probe in registry.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of Fogbell",
        "type": "object",
        "properties": top_keys(models),
        "patternProperties": {"^x-": {"description": "Free, for anchors."}},
        "additionalProperties": False,
        "$defs": {"probe": _probe(models, registry), **kinds, **dict(sorted(blocks.items()))},
    }


def top_keys(models: Models) -> Node:
    """Return the keys a file has at its top."""
    return {
        "state_dir": {
            "type": "string",
            "description": "Folder for what must survive a restart, from the folder of this file; without it nothing does.",
        },
        "defaults": {"$ref": f"#/$defs/{models.names[Defaults]}", "description": models.of(Defaults)["description"]},
        "tenants": {
            "type": "object",
            "additionalProperties": {"$ref": f"#/$defs/{models.names[Tenant]}"},
            "description": "Microsoft 365 tenants by a name of your choice.",
        },
        "probes": {"type": "array", "items": {"$ref": "#/$defs/probe"}, "description": "What to watch."},
    }


def _probe(models: Models, registry: Mapping[str, Probe[Any]]) -> Node:
    """Return the schema of one entry of `probes`: a branch per kind, chosen by `kind` alone so that editors complain to the point."""
    keys = models.of(Keys)["properties"]
    return {
        "type": "object",
        "properties": {"name": keys["name"], "kind": {**keys["kind"], "enum": list(registry)}},
        "required": ["name", "kind"],
        "allOf": list(_branches(registry)),
    }


def _branches(registry: Mapping[str, Probe[Any]]) -> Iterator[Node]:
    for kind in registry:
        chosen = {"properties": {"kind": {"const": kind}}, "required": ["kind"]}
        yield {"if": chosen, "then": {"$ref": f"#/$defs/probe_{kind}"}}


def _kind(models: Models, kind: str, probe: Probe[Any]) -> Node:
    """Return the keys of one kind, common ones first."""
    settings, keys = models.of(probe.settings), models.of(Keys)
    return {
        "description": settings["description"],
        "type": "object",
        "properties": {**keys["properties"], "kind": {"const": kind}, **settings["properties"]},
        "required": [*keys["required"], *settings.get("required", ())],
        "additionalProperties": False,
    }
