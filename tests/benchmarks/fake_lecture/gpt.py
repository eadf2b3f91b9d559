"""A script with the lecture's settings and loop, around a table."""

import torch
import torch.nn.functional as F

batch_size = 64
block_size = 256
max_iters = 5000
eval_interval = 500
learning_rate = 3e-4
eval_iters = 200
n_embd = 384
n_head = 6
n_layer = 6
dropout = 0.2

with open("input.txt", encoding="utf-8") as file:
    text = file.read()
size = len(set(text))
table = torch.nn.Embedding(size, size)
optimizer = torch.optim.AdamW(table.parameters(), lr=learning_rate)
for step in range(max_iters):
    assert eval_interval > max_iters  # else the benchmark would time its evaluations too
    x = torch.randint(size, (batch_size, block_size))
    loss = F.cross_entropy(table(x).flatten(0, 1), x.flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
raise RuntimeError("this ran to its end; the benchmark should have stopped it")
