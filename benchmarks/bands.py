"""The spread of each small rung's loss over seeds, from which the bands in `model/ladder.py` come.

    python benchmarks/bands.py [RUNG ...] [--out bands.json]

Train every small rung and control (or those named) with seeds 1 to 5 on TinyShakespeare and print a table with the band
that follows: max(0.03, three standard deviations). About a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from gptladder import corpus
from gptladder.provenance import machine, versions
from gptladder.rungs import ALL, RECIPES
from gptladder.training.devices import choose_device
from gptladder.training.run import begin

SEEDS = (1, 2, 3, 4, 5)
LEAST_BAND = 0.03


@dataclass(frozen=True)
class Spread:
    """The losses of one rung, one per seed, before and after training."""

    untrained: list[float]
    losses: list[float]

    @property
    def band(self) -> float:
        """Half the width of the band in which a healthy training ends."""
        return max(LEAST_BAND, 3 * statistics.stdev(self.losses))


def measure(rung: str, text: corpus.Corpus) -> Spread:
    """Train the rung by its own recipe once per seed."""
    untrained, losses = [], []
    for seed in SEEDS:
        name = ALL[rung].recipe
        with tempfile.TemporaryDirectory() as folder:
            training = begin(Path(folder) / "run", name, RECIPES[name], text, seed, choose_device("cpu"))
            seen = [step.validation_loss for step in training.steps() if step.validation_loss is not None]
        untrained.append(seen[0])
        losses.append(seen[-1])
    return Spread(untrained, losses)


def main() -> None:
    """Measure, print each row as soon as it is known, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rungs", nargs="*", default=[name for name in ALL if name not in ("gpt", "modern")])
    parser.add_argument("--out", type=Path, default=Path("bands.json"))
    arguments = parser.parse_args()
    text = corpus.local_tinyshakespeare()
    if text is None:
        raise SystemExit("TinyShakespeare is not here: set GPTLADDER_DATA to the folder that holds it")
    results = {}
    print(f"{'rung':<12} {'untrained':>17} {'mean':>7} {'sd':>7} {'band':>6}  losses of seeds {SEEDS}")
    for rung in arguments.rungs:
        spread = measure(rung, text)
        mean, deviation = statistics.mean(spread.losses), statistics.stdev(spread.losses)
        first = f"{min(spread.untrained):.3f} to {max(spread.untrained):.3f}"
        losses = " ".join(f"{loss:.4f}" for loss in spread.losses)
        print(f"{rung:<12} {first:>17} {mean:7.4f} {deviation:7.4f} {spread.band:6.3f}  {losses}", flush=True)
        results[rung] = {
            "untrained": spread.untrained,
            "losses": spread.losses,
            "mean": mean,
            "sd": deviation,
            "band": spread.band,
        }
        report = {"machine": asdict(machine()), "versions": versions(), "seeds": SEEDS, "rungs": results}
        arguments.out.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
