"""Exchange Web Services of the simulated tenant, over the same mailboxes as Graph.

Only what a mail probe asks for is played: CreateItem, FindItem, GetItem, GetFolder, DeleteItem, ConvertId, GetUserAvailability.
"""

from agent.drill.ews.site import Policy, ews_site

__all__ = ["Policy", "ews_site"]
