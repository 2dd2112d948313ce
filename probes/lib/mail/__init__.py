"""Letters: writing them, sending and finding them over each protocol, and reading where they spent their time."""
