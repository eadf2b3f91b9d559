"""One measurement in a process of its own: read a task as JSON from the first argument, print the answer as JSON.

The other benchmarks start it (`report.in_child`); every function here is one kind of task.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import peers
from gptladder import cpu
from gptladder.batches import Batches
from gptladder.model.config import GPTConfig, Recipe
from gptladder.model.fusing import fuse, fused_cross_entropy
from gptladder.model.gpt import GPT
from gptladder.rungs import build
from gptladder.sampling.choose import Sampling
from gptladder.sampling.decoding import for_writing, generate_cached
from gptladder.training.loop import evaluate
from gptladder.training.optimizers import make_optimizer
from gptladder.training.plan import choose_plan, dtype_of, products_of
from gptladder.training.slices import compute_in, step_in_slices
from report import text

VOCABULARY = 65
GREEDY = Sampling(temperature=0)


def peak_memory() -> int:
    """Return the most bytes that were resident in this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def steps_of_ours(recipe: dict[str, Any], steps: int) -> list[float]:
    """Time each training step of one of our rungs by a recipe, the batch and the optimizer included."""
    cpu.keep_freed_memory()
    settings = Recipe(**recipe)
    model = build(settings.rung, settings.config(VOCABULARY))
    plan, _ = choose_plan(settings, model, torch.device("cpu"))
    model = compute_in(fuse(model), dtype_of(plan))
    optimizer = make_optimizer(model, settings, dtype_of(plan))
    batches = Batches(torch.randint(VOCABULARY, (1_000_000,)), settings.batch_size, settings.block_size)

    def step() -> None:
        x, y = batches.get_batch("train")
        step_in_slices(plan.slices, model, optimizer, x, y, fused_cross_entropy)

    with products_of(plan):
        return [seconds(step) for _ in range(steps + 1)][1:]


def seconds(work: Any) -> float:  # noqa: ANN401
    """Return how many seconds a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def steps_of_nanogpt(path: str, recipe: dict[str, Any], steps: int) -> list[float]:
    """Time the same with nanoGPT's model.py, and with the batch, the optimizer and the clipping of its train.py."""
    settings = Recipe(**recipe)
    B, T = settings.batch_size, settings.block_size
    model = peers.nanogpt_model(
        Path(path),
        **{"vocab_size": VOCABULARY, "block_size": T, "n_layer": settings.n_layer, "n_head": settings.n_head},
        **{"n_embd": settings.n_embd, "dropout": settings.dropout},
    )
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.99), "cpu")  # type: ignore[operator]
    data = torch.randint(VOCABULARY, (1_000_000,))

    def step() -> None:
        starts = torch.randint(len(data) - T, (B,))
        x = torch.stack([data[i : i + T] for i in starts])
        y = torch.stack([data[i + 1 : i + 1 + T] for i in starts])
        _, loss = model(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return [seconds(step) for _ in range(steps + 1)][1:]


def steps_of_lecture(path: str, steps: int, shape: dict[str, float] | None = None) -> list[float]:
    """Time the same with the lecture's gpt.py, at the published shapes."""
    return peers.time_lecture(Path(path), text(), steps, shape)


def loss_of_nanogpt(folder: str) -> float:
    """Evaluate the checkpoint that nanoGPT's training left, on the whole split as we do it."""
    model, block_size = peers.nanogpt_checkpoint(Path(folder))
    corpus = text()
    from gptladder.tokenizer import CharTokenizer

    tokens = torch.tensor(CharTokenizer.of(corpus.text).encode(corpus.text))
    return evaluate(peers.NanoLogits(model), Batches(tokens, 1, block_size).all_blocks("validation"), fused_cross_entropy)


def _ours(rung: str, config: dict[str, Any]) -> tuple[nn.Module, GPTConfig]:
    torch.manual_seed(1)
    shape = GPTConfig(VOCABULARY, **config, dropout=0.0)
    model = build(rung, shape).eval()
    if isinstance(model, GPT):
        nn.init.normal_(model.unembed.weight, std=0.02)  # as nanoGPT's; with 0.002 the likeliest token is near a tie
    return model, shape


def sampling_of_ours(rung: str, config: dict[str, Any], dtype: str, streams: int, tokens: int, rounds: int) -> dict[str, Any]:
    """Return the tokens a second of each round, and the greedy text that was written."""
    model, shape = _ours(rung, config)
    model = for_writing(model, getattr(torch, dtype))
    prompt = torch.zeros(streams, 1, dtype=torch.long)

    def write() -> Tensor:
        return torch.stack(list(generate_cached(model, prompt, tokens, shape.block_size, GREEDY)), dim=1)

    written = write()
    return {"rates": [streams * tokens / seconds(write) for _ in range(rounds)], "text": written[0].tolist()}


def sampling_of_nanogpt(path: str, config: dict[str, Any], tokens: int, rounds: int) -> dict[str, Any]:
    """Measure the same with nanoGPT's `generate`, given our model's weights and, like our model, ReLU in place of GELU.

    So both compute the same function and must write the same text. top_k=1 makes it greedy.
    """
    ours, _ = _ours("gpt", config)
    model = peers.nanogpt_model(Path(path), vocab_size=VOCABULARY, dropout=0.0, **config).eval()
    _copy_weights(ours, model)
    prompt = torch.zeros(1, 1, dtype=torch.long)

    def write() -> Tensor:
        written: Tensor = model.generate(prompt, tokens, top_k=1)  # type: ignore[operator]
        return written

    written = write()
    return {"rates": [tokens / seconds(write) for _ in range(rounds)], "text": written[0, 1:].tolist()}


@torch.no_grad()
def _copy_weights(ours: nn.Module, theirs: Any) -> None:  # noqa: ANN401
    """Copy our GPT's weights into nanoGPT's model. It has no biases here; ours are zero when a model is new."""
    weights = fuse(ours).state_dict()
    inner = theirs.transformer
    inner.wte.weight = nn.Parameter(weights["embed.token.weight"].clone())  # no longer tied to the head
    inner.wpe.weight.copy_(weights["embed.position.weight"])
    for i, block in enumerate(inner.h):
        block.mlp.gelu = nn.ReLU()
        block.attn.c_attn.weight.copy_(weights[f"layers.{i}.attention.qkv.weight"])
        block.attn.c_proj.weight.copy_(weights[f"layers.{i}.attention.project.weight"])
        block.mlp.c_fc.weight.copy_(weights[f"layers.{i}.feed_forward.expand.weight"])
        block.mlp.c_proj.weight.copy_(weights[f"layers.{i}.feed_forward.contract.weight"])
    theirs.lm_head.weight = nn.Parameter(weights["unembed.weight"].clone())


def loss_of_run(run: str, dtype: str) -> float:
    """The whole-split loss of a run's best model with its weights kept in `dtype`, as by `sample --weights`."""
    from gptladder.checkpoint import Run
    from gptladder.sampling.writer import load_for_writing

    opened, corpus = Run.open(Path(run)), text()
    model = load_for_writing(opened, dtype=getattr(torch, dtype))
    tokens = torch.tensor(opened.tokenizer.encode(corpus.text))
    batches = Batches(tokens, 1, opened.model_config.block_size)

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        return fused_cross_entropy(logits.float(), targets)

    return evaluate(model, batches.all_blocks("validation"), loss)


TASKS = {
    function.__name__: function
    for function in (
        *(steps_of_ours, steps_of_nanogpt, steps_of_lecture),
        *(loss_of_nanogpt, loss_of_run, sampling_of_ours, sampling_of_nanogpt),
    )
}


def main() -> None:
    """Run the function named by `task` with the other values as arguments."""
    task = json.loads(sys.argv[1])
    answer = TASKS[task.pop("task")](**task)
    print(json.dumps({"answer": answer, "peak_memory": peak_memory(), "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
