"""What each command does; :mod:`prunekit.cli` only parses and dispatches."""
