"""What a benchmark says of the machine."""

from __future__ import annotations

import json

from pdpanel.panel.bench.machine import PEERS, describe_machine, isa_of, machine_text, model_name

X86 = (
    "processor\t: 0\nmodel name\t: Some CPU @ 2.50GHz\nflags\t\t: fpu avx2 avx512f avx512_vnni sse4_2\n\nflags\t: no\n"
)
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n"


def test_processor_and_instruction_sets_are_read() -> None:
    assert model_name(X86) == "Some CPU @ 2.50GHz"
    assert isa_of(X86) == ["avx2", "avx512f", "avx512_vnni"]
    assert isa_of(ARM) == ["asimd", "asimddp", "i8mm"]
    assert model_name(ARM), "the architecture, where Linux names no processor"
    assert isa_of("") == []


def test_this_machine_is_plain_json_and_one_sentence() -> None:
    machine = describe_machine()
    assert json.loads(json.dumps(machine)) == machine
    peers = machine["peers"]
    assert isinstance(peers, dict)
    assert set(peers) <= set(PEERS)
    text = machine_text(machine)
    assert f"{machine['cores']} cores" in text
    assert all(f"{name} {version}" in text for name, version in peers.items())
