"""Reads the data that was prepared, takes no step, and leaves a checkpoint like nanoGPT's."""

import os
import pickle
import sys

import torch
from model import GPT, GPTConfig

folder = "data/shakespeare_char"
with open(f"{folder}/meta.pkl", "rb") as file:
    meta = pickle.load(file)
sizes = [os.path.getsize(f"{folder}/{name}.bin") // 2 for name in ("train", "val")]
assert sizes[0] > 5 * sizes[1] > 0, sizes
assert len(meta["itos"]) == len(meta["stoi"]) == meta["vocab_size"]
assert "--device=cpu" in sys.argv and "config/train_shakespeare_char.py" in sys.argv
config = {
    "block_size": 16,
    "vocab_size": meta["vocab_size"],
    "n_layer": 1,
    "n_head": 1,
    "n_embd": 8,
    "dropout": 0.0,
    "bias": False,
}
os.makedirs("out-shakespeare-char")
torch.save({"model": GPT(GPTConfig(**config)).state_dict(), "model_args": config}, "out-shakespeare-char/ckpt.pt")
