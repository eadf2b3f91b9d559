"""The model, from a table to a GPT.

Read in this order: config, bigram, averaging, dropout, attention, block, gpt, ladder; then cache, kernels and efficient, which
make them fast; then parts and modern, what came since; controls stand aside.
"""
