"""The loop that every trainer shares: budget, log, checkpoint, resume.

A step draws all its randomness from (seed, step number), so a run that was stopped and resumed takes the same steps as
one that was not.
"""

from __future__ import annotations

import copy
import json
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

SAVE_EVERY = 60.0  # s
LOG_EVERY = 50  # steps


@dataclass(frozen=True)
class LoopOptions:
    """When a trainer stops (whichever comes first) and how it learns."""

    minutes: float = 20.0  # of CPU time in all, earlier runs included: what else the machine does is not counted
    steps: int | None = None  # in all, earlier runs included
    seed: int = 0
    learning_rate: float = 1e-3
    warmup: int = 300  # steps
    decay_from: int | None = None  # step from which the learning rate halves every `half_life` steps
    half_life: int = 2500  # steps
    average: float = 0.999  # decay of the weights' moving average
    evaluate_every: float = 240.0  # s of training
    bfloat16: bool = False  # products in bfloat16, on processors that have it

    def rate_at(self, step: int) -> float:
        decay = 0 if self.decay_from is None else max(0, step - self.decay_from)
        return self.learning_rate * min(1.0, (step + 1) / self.warmup) * 0.5 ** (decay / self.half_life)


class Trainer(ABC):
    """What one stage trains. `modules` are saved and averaged; buffers included."""

    name: str
    modules: nn.ModuleDict

    @abstractmethod
    def loss(self, step: int, chance: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss of one random batch and what to log about it."""

    def prepare(self, step: int, average: nn.ModuleDict) -> None:  # noqa: B027 — most have nothing to prepare
        """Called before each step: initialise what begins at it. `average` holds the averaged weights."""

    def evaluate(self, modules: nn.ModuleDict) -> dict[str, float]:
        """Figures on held-out data for the averaged weights."""
        return {}


class Loop:
    def __init__(self, trainer: Trainer, folder: Path, options: LoopOptions) -> None:
        self.trainer, self.folder, self.options = trainer, folder, options
        folder.mkdir(parents=True, exist_ok=True)
        self.average = copy.deepcopy(trainer.modules).requires_grad_(False).eval()
        self.optimizer = torch.optim.AdamW(
            trainer.modules.parameters(), lr=options.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.step, self.seconds = 0, 0.0
        if self.checkpoint.exists():
            self.restore()

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def restore(self) -> None:
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        self.trainer.modules.load_state_dict(state["modules"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]

    def save(self) -> None:
        state = {
            "modules": self.trainer.modules.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        whole = self.checkpoint.with_suffix(".part")
        torch.save(state, whole)
        whole.replace(self.checkpoint)

    def log(self, values: dict[str, float]) -> None:
        with (self.folder / "log.jsonl").open("a") as file:
            rounded = {k: round(float(v), 5) for k, v in values.items()}
            file.write(json.dumps({"step": self.step, "seconds": round(self.seconds, 1), **rounded}) + "\n")

    def finished(self) -> bool:
        steps = self.options.steps
        return self.seconds >= 60 * self.options.minutes or (steps is not None and self.step >= steps)

    def run(self) -> nn.ModuleDict:
        """Trains until the budget is spent and returns the averaged modules."""
        saved = evaluated = self.seconds
        sums: dict[str, float] = {}
        while not self.finished():
            started = time.process_time()
            self.trainer.prepare(self.step, self.average)
            for name, value in self.take_step().items():
                sums[name] = sums.get(name, 0.0) + value
            self.seconds += time.process_time() - started
            if self.step % LOG_EVERY == 0:
                self.log({name: value / LOG_EVERY for name, value in sums.items()})
                sums = {}
            if self.seconds - saved > SAVE_EVERY:
                self.save()
                saved = self.seconds
            if self.seconds - evaluated > self.options.evaluate_every:
                self.evaluate()
                evaluated = self.seconds
        self.save()
        self.evaluate()
        return self.average

    def evaluate(self) -> None:
        with torch.no_grad():
            figures = self.trainer.evaluate(self.average)
        if figures:
            self.log({f"eval/{name}": value for name, value in figures.items()})

    def take_step(self) -> dict[str, float]:
        options = self.options
        chance = np.random.default_rng([options.seed, self.step])
        torch.manual_seed(int(chance.integers(2**31)))
        for group in self.optimizer.param_groups:
            group["lr"] = options.rate_at(self.step)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
            loss, values = self.trainer.loss(self.step, chance)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.trainer.modules.parameters(), 1.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.step += 1
        self.update_average()
        return {"loss": float(loss.detach()), "norm": float(norm), **values}

    def update_average(self) -> None:
        # Early on the average follows closely, or it would remember the initial weights for long.
        keep = min(self.options.average, self.step / (self.step + 10))
        mine = self.average.state_dict()
        for name, value in self.trainer.modules.state_dict().items():
            if value.is_floating_point():
                mine[name].lerp_(value, 1 - keep)
            else:
                mine[name].copy_(value)
