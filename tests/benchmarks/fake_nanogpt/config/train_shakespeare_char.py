"""Settings; the fake's train.py has its own."""
