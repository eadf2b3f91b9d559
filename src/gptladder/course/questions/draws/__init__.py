"""Questions whose numbers are drawn for each learner, a file for each module of the course."""

from __future__ import annotations

from collections.abc import Callable

from ..blanks import GapText
from . import module_1, module_2, module_3, module_4, module_5

Draw = Callable[[int], GapText]  # from a seed
DRAWS: dict[str, Draw] = {
    draw.__name__: draw for module in (module_1, module_2, module_3, module_4, module_5) for draw in module.DRAWS
}
