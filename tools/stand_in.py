"""Write the stand-in corpus: about a megabyte of text sampled from one of our own trained models.

    python tools/stand_in.py RUN

Every stream begins with one character of the alphabet, the rare ones included, so that none is missing. The streams
are cut at their first and last empty line and laid one after the other.
"""

from __future__ import annotations

import argparse
import hashlib
import lzma
from pathlib import Path

import torch

from gptladder.checkpoint import Run
from gptladder.sampling.choose import Sampling
from gptladder.sampling.decoding import for_writing, generate_cached

FOLDER = Path(__file__).parent.parent / "src" / "gptladder" / "stand_in"
STREAMS, LENGTH, SEED = 130, 8700, 1


def write_streams(run: Run, seed: int) -> list[str]:
    """Return STREAMS texts of LENGTH characters, written side by side; text i begins with character i of the alphabet."""
    model = for_writing(run.model())
    size = len(run.tokenizer)
    prompt = torch.tensor([[i % size] for i in range(STREAMS)])
    generator = torch.Generator().manual_seed(seed)
    tokens = generate_cached(model, prompt, LENGTH, run.model_config.block_size, Sampling(), generator)
    columns = torch.stack(list(tokens), dim=1)  # (STREAMS, LENGTH)
    return [run.tokenizer.decode(row) for row in torch.cat([prompt, columns], dim=1).tolist()]


def tidy(streams: list[str]) -> str:
    """Return the streams as one text. Only the first speech of each, begun in the middle, may lack its speaker."""
    return "".join(stream.rstrip("\n").rpartition("\n\n")[0].lstrip("\n") + "\n\n" for stream in streams)[:-1]


def main() -> None:
    """Write stand_in.txt.xz and print what its README records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the run folder of a trained model")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    run = Run.open(arguments.run)
    text = tidy(write_streams(run, arguments.seed))
    missing = set(run.tokenizer.alphabet) - set(text)
    if missing:
        raise SystemExit(f"the text lacks {sorted(missing)}; try another --seed")
    packed = lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)
    (FOLDER / "stand_in.txt.xz").write_bytes(packed)
    digest = hashlib.sha256(text.encode()).hexdigest()
    print(f"{len(text):,} characters, {len(set(text))} different; {len(packed):,} bytes packed; sha256 {digest}")


if __name__ == "__main__":
    main()
