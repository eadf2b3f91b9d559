"""`python -m gptladder`: the same as the command `gptladder`."""

from .cli.app import main

main()
