"""The command line: verbs in groups, and what they print."""
