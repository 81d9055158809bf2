"""The JSON Schema of a flow file, from the models: what editors complete and check."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import JsonSchemaMode, models_json_schema

from flows.config import Flow
from flows.sources import SOURCES, load_source
from logweir.settings import StrictModel
from operators.rule_models import Condition, Sampling
from sinks import SINKS, load_sink

_REF = "#/$defs/"
_VARIABLE = {"type": "string", "pattern": r"\$\{", "description": "A variable, such as ${PORT}."}
_ANNOTATIONS = ("title", "description", "default", "examples")


def flow_schema(*, variables: bool = True) -> dict[str, Any]:
    """Return the schema.

    Args:
        variables: Whether a number or a choice may also be written as `${VAR}`, as in a file; false for the reference.
    """
    sources = {name: load_source(name) for name in sorted(SOURCES)}
    sinks = {name: load_sink(name) for name in sorted(SINKS)}
    mode: JsonSchemaMode = "validation"
    models: list[type[StrictModel]] = [Flow, Condition, Sampling, *sources.values(), *sinks.values()]
    references, whole = models_json_schema([(model, mode) for model in models], ref_template=_REF + "{model}")
    named = {references[model, mode]["$ref"]: f"{_REF}source_{name}" for name, model in sources.items()}
    named |= {references[model, mode]["$ref"]: f"{_REF}destination_{name}" for name, model in sinks.items()}
    definitions = _renamed(whole["$defs"], named)
    for name in ("CommonDestination", "SourceSettings", "StrictModel"):
        definitions.pop(name, None)
    flow = definitions.pop("Flow")
    properties = flow["properties"]
    described = {"description": properties["source"]["description"]}
    properties["source"] = {**_choice("source_", sources), **described}
    properties["destinations"] = {
        key: value
        for key, value in properties["destinations"].items()
        if key not in ("patternProperties", "propertyNames")
    } | {"additionalProperties": _choice("destination_", sinks)}
    for name in sinks:
        own = definitions[f"destination_{name}"]["properties"]
        own["rules"]["items"] = properties["rules"]["items"]
        own["when"]["items"] = {"$ref": references[Condition, mode]["$ref"]}
        own["sampling"] = {
            "anyOf": [{"$ref": references[Sampling, mode]["$ref"]}, {"type": "null"}],
            "default": None,
            "description": own["sampling"]["description"],
        }
    for name in [*(f"source_{name}" for name in sources), *(f"destination_{name}" for name in sinks)]:
        required = definitions[name].setdefault("required", [])
        definitions[name]["required"] = list(dict.fromkeys(["type", *required]))
    for definition in (flow, *definitions.values()):
        _finish(definition, variables=variables)
    if variables:
        definitions["variable"] = dict(_VARIABLE)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "logweir flow",
        **{key: value for key, value in flow.items() if key != "title"},
        "$defs": dict(sorted(definitions.items())),
    }


def _choice(prefix: str, models: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that is one of these models, told apart by `type`."""
    mapping = {name: f"{_REF}{prefix}{name}" for name in models}
    return {
        "oneOf": [{"$ref": reference} for reference in mapping.values()],
        "discriminator": {"propertyName": "type", "mapping": mapping},
    }


def _renamed(value: Any, named: dict[str, str]) -> Any:
    """Return the definitions with these references, and what they refer to, under other names."""
    if isinstance(value, dict):
        keys = {old.removeprefix(_REF): new.removeprefix(_REF) for old, new in named.items()}
        return {keys.get(key, key): _renamed(each, named) for key, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each, named) for each in value]
    return named.get(value, value) if isinstance(value, str) else value


def _finish(definition: dict[str, Any], *, variables: bool) -> None:
    """Drop what only the loader needs, and allow variables."""
    properties = definition.get("properties", {})
    for name, each in list(properties.items()):
        each.pop("title", None)
        if each.pop("env", None) and name in definition.get("required", ()):
            definition["required"].remove(name)
        if variables:
            properties[name] = _or_variable(each)


def _or_variable(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a setting, or of a variable in its place where the setting isn't any text anyway."""
    notes = {key: schema[key] for key in _ANNOTATIONS if key in schema}
    shape = {key: value for key, value in schema.items() if key not in notes}
    variable = {"$ref": _REF + "variable"}
    options = shape.get("anyOf", [shape])
    if any(option.get("type") == "string" and not {"pattern", "enum", "const"} & option.keys() for option in options):
        return schema
    if all(option.get("type") in (None, "array", "object", "null") and "enum" not in option for option in options):
        return schema
    return schema if "const" in shape else {"anyOf": [*options, variable], **notes}


def schema_text() -> str:
    """Return the schema as it is kept in deploy/schema/flow.schema.json."""
    return json.dumps(flow_schema(), indent=2, ensure_ascii=False) + "\n"
