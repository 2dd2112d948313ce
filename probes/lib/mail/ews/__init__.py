"""Exchange Web Services: exchangelib writes and reads SOAP in a process of its own, and the agent itself carries it over HTTP.

exchangelib holds the GIL while it parses, cannot be cancelled, and has opinions on tokens, retries and connections. So it lives in a
process that has no network: each of its HTTP requests comes back to the agent as a line of JSON. There it is made as all others are, with
phases, our trust and proxy, limits and cancellation, and there the login is added: the process never sees a token.
"""
