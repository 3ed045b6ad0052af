"""Named schedules: how many forward passes a decoding is worth.

Costs are in backbone rows, the unit of its work: a step without guidance has P + T rows, one with guidance P + 2T
(P prompt frames, T target frames).
"""

from __future__ import annotations

from typing import Any

from m8d.engines.errors import InputError
from m8d.runtime.sampling import SamplingOptions

QUALITIES = ("best", "default", "fast", "turbo")


def schedule(quality: str, layers: int) -> dict[str, Any]:
    """Sampling options of `quality` for a codec of `layers` quantizers; `default` is what the bundle says.

    `best` guides the first layer too, as MaskGCT does. `fast` and `turbo` take fewer steps; they guide the second layer
    alone, or nothing, since layers of one step add detail that guidance hardly moves.
    """
    rest = (1,) * (layers - 2)
    schedules: dict[str, dict[str, Any]] = {
        "best": {"coarse_steps": 40, "fine_steps": (16, *rest), "coarse_guidance": 2.5, "fine_guidance": 2.5},
        "default": {},
        "fast": {"coarse_steps": 14, "fine_steps": (6, *rest), "guided_layers": 1},
        "turbo": {"coarse_steps": 5, "fine_steps": (3, *rest), "guided_layers": 0},
    }
    if quality not in schedules:
        raise InputError(f"Quality: received {quality!r}, expected one of {', '.join(QUALITIES)}.")
    return schedules[quality]


def forwards(options: SamplingOptions) -> tuple[int, int]:
    """Backbone passes of a decoding with a prompt: (without guidance, with guidance)."""
    guided = options.coarse_steps if options.coarse_guidance > 0 else 0
    total = options.coarse_steps + sum(options.fine_steps)
    for layer, steps in enumerate(options.fine_steps, start=1):
        guided += steps if options.guidance_of(layer) > 0 else 0
    return total - guided, guided


def rows(options: SamplingOptions, prompt: int, target: int) -> int:
    """Backbone rows of a decoding of `target` frames after `prompt` ones."""
    plain, guided = forwards(options) if prompt else (sum(forwards(options)), 0)
    return plain * (prompt + target) + guided * (prompt + 2 * target)
