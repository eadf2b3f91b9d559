"""Questions whose numbers are drawn for each learner, a file for each module of the course."""

from __future__ import annotations

from collections.abc import Callable

from ..blanks import Drawn
from . import module_1, module_2, module_3, module_4, module_5

DRAWN: dict[str, Callable[[int], Drawn]] = {
    draw.__name__: draw for module in (module_1, module_2, module_3, module_4, module_5) for draw in module.DRAWS
}
