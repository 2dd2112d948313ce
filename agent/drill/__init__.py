"""The other side of the wire: servers that play the services a probe watches, and the outages they have.

Used by `fogbell demo` and by tests. It imports nothing of `probes`, so that a misunderstanding of a protocol is not made twice.
"""
