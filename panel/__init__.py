"""The panel: plan, launch, watch and export deployments. `launch()` opens it, also inside a notebook."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .notebook.launch import launch as launch

__all__ = ["launch"]


class _Package(ModuleType):
    """Keeps `launch` the function: the import system would put the module of launch plans there, which has that name.

    `from .launch import …` finds that module without this attribute.
    """

    @property
    def launch(self) -> Any:
        """The function, imported when it is asked for."""
        from .notebook.launch import launch

        return launch

    @launch.setter
    def launch(self, module: ModuleType) -> None:
        pass


sys.modules[__name__].__class__ = _Package
