"""The least permissions that a configuration needs in each tenant, the commands that grant and narrow them, and what is granted beside."""
