"""What the ranks of a worker must have the same version of: this package, whose orders they exchange, and torch."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["versions"]

_PACKAGES = ("pdpanel", "torch")


def versions() -> dict[str, str]:
    """Returns the versions by package; torch's without what it was built for."""
    return {package: _version(package).partition("+")[0] for package in _PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
