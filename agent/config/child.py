"""The short life of the process that reads a configuration for a running agent: read, judge, print plain data, end.

What it prints: a line of JSON (`Found`), as many lines of probes as that says (`Built.line`), and the configuration as it may be shown.
"""

import contextlib
import json
import pkgutil
import sys
from collections.abc import Iterator

from agent.config.configuration import Configuration
from agent.config.load import load
from agent.config.mistakes import ConfigurationError, Mistake

MEMORY_BYTES = 2 << 30


def main() -> None:
    """Read `sys.argv[1]` with the kinds that `sys.argv[2]` names, as module:name."""
    _limit_memory()
    path, kinds = sys.argv[1:3]
    try:
        parts = list(_parts(load(path, registry=pkgutil.resolve_name(kinds))))
    except ConfigurationError as error:
        named = [[secret.env, secret.file] for secret in error.secrets]
        parts = [_json({"mistakes": list(map(_plain, error.mistakes)), "more": error.more, "secrets": named})]
    except MemoryError:
        too_much = "reading it takes more memory than a configuration may (2 GB)"
        parts = [_json({"mistakes": [[path, 1, 1, "file", too_much]], "more": 0, "secrets": []})]
    sys.stdout.buffer.write(b"\n".join(parts))


def _parts(configuration: Configuration) -> Iterator[bytes]:
    head = {
        "probes": len(configuration.built),
        "tenants": {name: tenant.model_dump_json(exclude_unset=True) for name, tenant in configuration.tenants.items()},
        "state_dir": configuration.state_dir,
        "warnings": list(map(_plain, configuration.warnings)),
        "sources": [str(path) for path in configuration.sources],
        "digest": configuration.digest,
    }
    yield _json(head)
    for built in configuration.built:
        yield built.line
    yield configuration.shown.encode("utf-8", "replace")


def _plain(mistake: Mistake) -> list[object]:
    return [mistake.file, mistake.line, mistake.column, mistake.where, mistake.what]


def _json(data: object) -> bytes:
    return json.dumps(data).encode()


def _limit_memory() -> None:
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
