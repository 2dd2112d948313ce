"""The contract every probe stands on. Knows no protocol library and nothing of the agent."""
