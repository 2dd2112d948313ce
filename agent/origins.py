"""What a probe was when it created something, as far as it takes to clear away after it when it is configured no more, or otherwise."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from agent.config import Configuration
from agent.config.configuration import Built
from agent.config.entries import Registry, settings_of
from agent.config.masked import without_secrets
from agent.config.models import canonical, secrets_in
from agent.job import Job
from agent.rows import Origin
from probes.lib.tenant import Tenant


class NotClearableError(Exception):
    """What is left cannot be removed by us; the message says why."""


def origins(configuration: Configuration) -> dict[str, Origin]:
    """Return what each probe is that can create something, by its name."""
    return {one.job.name: _origin_of(one, configuration.tenants) for one in configuration.built if one.job.probe.clear is not None}


def _origin_of(built: Built, tenants: Mapping[str, Tenant]) -> Origin:
    """Return what a probe is, as far as it takes to clear away after it. No secret is in it."""
    data, outline = settings_of(built), settings_of(built)
    for path, _ in secrets_in(built.job.settings):
        *above, last = path
        block: Any = outline
        for step in above:
            block = block[step]
        block[last] = None
    tenant = tenants.get(built.job.tenant)
    return Origin(
        built.job.kind,
        built.job.tenant,
        tenant.tenant_id if tenant else "",
        canonical(data) if without_secrets(data) == data else "",
        canonical(without_secrets(outline)),
    )


def job_of_then(name: str, origin: Origin | None, registry: Registry, tenants: Mapping[str, Tenant]) -> Job:
    """Return the job that created what is kept under a name, as it was then.

    Raises:
        NotClearableError: where there is no such job any more.

    """
    if origin is None:
        raise NotClearableError("an older version recorded it, without the settings that it takes")
    probe = registry.get(origin.kind)
    if probe is None or probe.clear is None:
        raise NotClearableError(f"there is no kind {origin.kind} any more that would know how")
    if not origin.settings:
        raise NotClearableError("a secret was written in place in its settings, and such settings are not kept")
    try:
        settings = probe.settings.model_validate_json(origin.settings, strict=True)
    except ValidationError as error:
        raise NotClearableError("its settings of then are valid no more") from error
    tenant, interval = _tenant_of(origin, tenants), max(probe.interval, probe.timeout)
    return Job(name, origin.kind, probe, settings, interval, probe.timeout, probe.place(settings), tenant=tenant)


def _tenant_of(origin: Origin, tenants: Mapping[str, Tenant]) -> str:
    """Return the name that the tenant of then has now."""
    named = [name for name, tenant in tenants.items() if tenant.tenant_id == origin.tenant_id]
    if origin.tenant_id and not named:
        raise NotClearableError(f"its tenant {origin.tenant} ({origin.tenant_id}) is not configured any more")
    return origin.tenant if origin.tenant in named or not named else named[0]
