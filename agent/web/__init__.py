"""The agent's pages and machine interfaces over HTTP. Knows the history and the jobs; everything else is handed in as a `Site`.

Nothing here may hold the loop up: a page over ten thousand probes is made and sent in slices, and a reader that is too slow is cut off.
"""

from agent.web.application import application
from agent.web.feed import Feed
from agent.web.listening import ListenError, listening
from agent.web.site import Exposition, LastReload, Limits, Site

__all__ = ["Exposition", "Feed", "LastReload", "Limits", "ListenError", "Site", "application", "listening"]
