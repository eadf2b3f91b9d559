"""The model, from a table to a GPT.

Read in this order: config, bigram, averaging, dropout, attention, block, gpt, ladder. Then cache,
kernels and fusing: they compute the same, faster.
"""
