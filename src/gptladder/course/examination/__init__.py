"""From a learner's code to a verdict: run in a process of its own, compared here."""
