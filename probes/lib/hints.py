"""What a failure means here and what helps, said beside what the service says: it knows nothing of our settings."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from probes.core.contract import Stopped
from probes.core.reasons import Reason


@contextmanager
def hinting(hints: Mapping[Reason, str]) -> Iterator[None]:
    """Put the words for a reason behind the message of what stops the block for it."""
    try:
        yield
    except Stopped as stopped:
        if hint := hints.get(stopped.reason):
            stopped.reword(f"{stopped.message}; {hint}")
        raise
