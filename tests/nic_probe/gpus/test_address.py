from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pdpanel.nic_probe.gpus.address import pci_address, pci_order


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("00000000:18:00.0", "0000:18:00.0"),
        ("00010000:AB:1F.7", "10000:ab:1f.7"),
        ("0000:c1:00.0", "0000:c1:00.0"),
        (" 3:0.0 ", "0000:03:00.0"),
        ("0004:05:00.0", "0004:05:00.0"),
    ],
)
def test_every_spelling_becomes_that_of_sysfs(text: str, address: str) -> None:
    assert pci_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "virtual", "0000:18:00", "0000:18:20.0", "0000:18:00.8", "0000:18:00.0 x", "\u0660:\u0660.\u0660"]
)
def test_anything_else_is_no_address(text: str) -> None:
    assert pci_address(text) is None


@given(st.text())
def test_an_address_is_its_own_spelling(text: str) -> None:
    address = pci_address(text)
    assert address is None or pci_address(address) == address


def test_the_order_is_that_of_the_bus() -> None:
    addresses = ["nonsense", "10000:01:00.0", "0001:01:00.0", "0000:9f:00.0", "0000:18:00.1", "0000:18:00.0"]
    assert sorted(addresses, key=pci_order) == addresses[::-1]
