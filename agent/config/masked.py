"""The configuration as YAML that may be shown: what is in force, without secrets."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agent.config.configuration import Built, Configuration
from agent.config.durations import in_words
from agent.config.entries import settings_of
from agent.config.scalars import typed
from agent.config.secrets import LOGIN, is_sensitive
from probes.lib.durations import seconds
from probes.lib.tenant import Tenant

MASK = "<secret>"

_PLAIN = re.compile(r"[A-Za-z0-9_/][A-Za-z0-9_./@+-]*")
_UNPRINTABLE = re.compile("[^\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def masked(configuration: Configuration) -> str:
    """Return the configuration with defaults filled in and `<secret>` for every secret written in place."""
    return configuration.shown


def shown(state_dir: str | None, tenants: Mapping[str, Tenant], probes: Iterable[Built]) -> str:
    """Write what a configuration shows of itself."""
    return "".join(f"{line}\n" for line in _lines(state_dir, tenants, probes))


def _lines(state_dir: str | None, tenants: Mapping[str, Tenant], probes: Iterable[Built]) -> Iterator[str]:
    if state_dir is not None:
        yield f"state_dir: {_flow(state_dir)}"
    if tenants:
        yield "tenants:"
    for name, tenant in tenants.items():
        yield f"  {_flow(name)}:"
        written = tenant.model_dump(mode="json", exclude_unset=True)
        yield from (f"    {key}: {_flow(without_secrets(value, key))}" for key, value in written.items())
    yield "probes:"
    for built in probes:
        dash = "- "
        for key, value in _keys(built).items():
            yield f"  {dash}{_flow(key)}: {_flow(value)}"
            dash = "  "


def _keys(built: Built) -> dict[str, Any]:
    job = built.job
    keys: dict[str, Any] = {"name": job.name, "kind": job.kind, "interval": _duration(job.interval), "timeout": _duration(job.timeout)}
    if job.interval < job.probe.floor:
        keys["allow_short_interval"] = True
    keys |= {"role": job.role, "layer": str(job.place.layer), "workload": str(job.place.workload)}
    if job.tenant:
        keys["tenant"] = job.tenant
    if job.labels:
        keys["labels"] = dict(job.labels)
    return keys | {key: without_secrets(value, key) for key, value in settings_of(built).items()}


def _duration(value: float) -> str | float:
    words = in_words(value)
    return words if seconds(words) == value else value


def without_secrets(value: Any, key: str = "") -> Any:
    """Return plain data without secrets, also without those that stand where a text is allowed as well."""
    if isinstance(value, dict):
        is_inline = value.keys() == {"inline"}
        return MASK if is_inline else {name: without_secrets(below, name) for name, below in value.items()}
    if isinstance(value, list):
        return [without_secrets(item, key) for item in value]
    if isinstance(value, str):
        return MASK if is_sensitive(key) else LOGIN.sub(MASK, value)
    return value


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(below)}" for key, below in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, float):
        text = repr(value)
        return text if "." in text else text.replace("e", ".0e")
    if not isinstance(value, str):
        return json.dumps(value)
    is_plain = _PLAIN.fullmatch(value) and typed(value) == (value, "")
    return value if is_plain else _UNPRINTABLE.sub(_escape, json.dumps(value, ensure_ascii=False))


def _escape(found: re.Match[str]) -> str:
    return f"\\U{ord(found.group()):08x}"
