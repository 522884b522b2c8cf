from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.nic_probe import probe_host
from pdpanel.panel.config import read_config
from pdpanel.panel.simulate.prepare import prepare
from pdpanel.panel.simulate.simulation import simulation_of
from simulated_node import grow_node
from simulated_places import prepared


def test_a_host_gets_a_state_directory_of_its_own(tmp_path: Path) -> None:
    config = read_config({}, state_dir=tmp_path)
    own, simulation = prepare(config, "small-2")
    assert own.state_dir == tmp_path / "simulated" / "small-2"
    assert (own.cache_dir, own.config_dir) == (config.cache_dir, config.config_dir)
    assert simulation_of(own.state_dir) == simulation
    assert simulation_of(tmp_path) is None
    assert [seat.nics for seat in simulation.seats] == [("mlx5_0",), ("mlx5_0",)]
    assert [port.key for port in simulation.ports] == ["mlx5_0:1", "lo"]
    assert simulation.ports[0].line_bytes_per_s == 100 * 125e6
    assert simulation.told.startswith("SIMULATED")


def test_it_is_made_once_and_again_after_a_change(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    text = "name = 'own'\ntitle = 't'\n[gpus]\ncount = 1\n[nics]\ncount = 1\n"
    own.write_text(text)
    first = prepared(tmp_path, str(own))
    counter = first.root / first.ports[0].tx
    counter.write_text("7\n")
    assert prepared(tmp_path, str(own)) == first
    assert counter.read_text() == "7\n"
    own.write_text(text.replace("count = 1\n[nics]", "count = 2\n[nics]"))
    again = prepared(tmp_path, str(own))
    assert (len(first.seats), len(again.seats), again.folder) == (1, 2, first.folder)
    assert counter.read_text() != "7\n"


def test_an_own_host_never_takes_the_folder_of_a_shipped_one(tmp_path: Path) -> None:
    own = tmp_path / "mine.toml"
    own.write_text("name = 'small-2'\ntitle = 't'\n")
    assert prepared(tmp_path).folder != prepared(tmp_path, str(own)).folder


def test_a_note_that_is_broken_is_one_sentence_and_is_written_anew(tmp_path: Path) -> None:
    simulation = prepared(tmp_path)
    note = Path(simulation.folder) / "simulation.json"
    note.write_text("{")
    with pytest.raises(ConfigError, match="cannot be read as a simulated host"):
        simulation_of(note.parent)
    assert prepared(tmp_path) == simulation


def test_a_dump_is_simulated_and_leads_nowhere_else(tmp_path: Path) -> None:
    node = grow_node(tmp_path / "node", gpus=2, nics=2, gids=4, nic_driver="bnxt_en")
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (node.root / "etc/away").symlink_to(secret)
    (node.root / "etc/up").symlink_to("../../../../../../../../.." + str(secret))
    with tarfile.open(tmp_path / "node.tar.gz", "w:gz") as archive:
        archive.add(node.root, "node")
    simulation = prepared(tmp_path, str(tmp_path / "node.tar.gz"))
    host = probe_host(simulation.files, {})
    assert [nic.name for nic in host.rdma.otherwise(())] == list(node.nics)
    assert [port.key for port in simulation.ports if port.key != "lo"] == ["bnxt_re0:1", "bnxt_re1:1"]
    assert len(simulation.seats) == 2
    for link in (simulation.root / "etc").iterdir():
        assert not link.is_symlink() or Path(link.resolve()).is_relative_to(simulation.root)


@pytest.mark.parametrize("what", ["file", "folder", "/"])
def test_what_is_no_dump_is_one_sentence(tmp_path: Path, what: str) -> None:
    place = Path("/") if what == "/" else tmp_path / "what"
    if what == "file":
        place.write_text("x" * 2000)
    elif what == "folder":
        place.mkdir()
    with pytest.raises(ConfigError) as told:
        prepared(tmp_path, str(place))
    assert told.value.field == "--simulate" and "\n" not in str(told.value)
