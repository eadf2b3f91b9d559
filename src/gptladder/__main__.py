"""`python -m gptladder`: the same as the command `gptladder`."""

from .cli import main

main()
