"""Python packages and shared libraries of this host, as far as PD serving needs them.

Called by `host_state`. Nothing is imported or loaded here: the facts say what was found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..reading import Reading
from ..sources.files import HostFiles
from .facts import Facts, as_text, as_texts

__all__ = ["Software", "probe_software"]


@dataclass(frozen=True, slots=True)
class Software:
    """What is installed.

    Attributes:
        packages: versions by the name of the distribution; those that matter here.
        missing_libraries: by package, shared libraries that it needs and that the loader does not find.
        wheel_libraries: those of them that another package brings, and that torch loads before.
        libraries: by name, the loader's error; empty when the library loads.
        verbs_providers: drivers that libibverbs is told to load, such as mlx5.
        python: the version of Python.
    """

    packages: Reading[Mapping[str, str]]
    missing_libraries: Reading[Mapping[str, tuple[str, ...]]]
    wheel_libraries: Reading[tuple[str, ...]]
    libraries: Reading[Mapping[str, str]]
    verbs_providers: Reading[tuple[str, ...]]
    python: Reading[str]

    def lacks(self, package: str) -> tuple[str, ...] | None:
        """Returns the libraries that the package needs and nobody brings; None when that is not known."""
        missing = self.missing_libraries.otherwise({}).get(package)
        brought = self.wheel_libraries.otherwise(())
        return None if missing is None else tuple(name for name in missing if name not in brought)

    def loads(self, library: str) -> bool | None:
        """True or False when it is known whether the library loads."""
        error = self.libraries.otherwise({}).get(library)
        return None if error is None else not error


def probe_software(files: HostFiles, facts: Facts) -> Software:
    """Returns what is installed."""
    return Software(
        packages=facts.table("packages", as_text, "a table of versions"),
        missing_libraries=facts.table("missing_libraries", as_texts, "a table of libraries"),
        wheel_libraries=facts.read("wheel_libraries", as_texts, "a list of libraries"),
        libraries=facts.table("libraries", as_text, "a table of libraries"),
        verbs_providers=files.names("etc/libibverbs.d").convert(
            lambda names: tuple(name.removesuffix(".driver") for name in names if name.endswith(".driver")),
            "a list of drivers",
        ),
        python=facts.read("python", as_text, "a version"),
    )
