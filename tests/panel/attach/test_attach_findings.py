from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pdpanel.panel.attach.findings import explain_logs
from pdpanel.panel.web.app import build_api
from simulated_source import SimulatedSource

FAILED = "E1121 05:05:38.0 1 a.cpp:1] Failed to register memory 0x7f: Bad address [14]\n"
ARGUMENTS = (
    "[2026-11-21 05:05:38] server_args=ServerArgs(model_path='m', disaggregation_mode='{role}', page_size={page}, "
    "host='10.0.0.1', port=30000)\n"
)


def test_logs_are_explained_and_compared(tmp_path: Path) -> None:
    prefill, decode = tmp_path / "prefill_NODE0.log", tmp_path / "decode_NODE1.log"
    prefill.write_text(ARGUMENTS.format(role="prefill", page=64) + FAILED)
    decode.write_text(ARGUMENTS.format(role="decode", page=1))
    found = explain_logs({"prefill-0": prefill, "decode-0": decode, "router": tmp_path / "none.log"})
    ids = {finding.id for finding in found.findings}
    assert any("memory" in one for one in ids)
    assert any("page" in one for one in ids), ids
    assert any(note.startswith("router: ") and "is not there" in note for note in found.notes)


def test_of_a_long_log_both_ends_are_read(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    plain = "INFO: nothing to see in this line of the log\n"
    log.write_text(plain + FAILED + plain * 5000 + "OSError: [Errno 98] Address already in use\n")
    found = explain_logs({"a": log}, 64 << 10)
    assert len([finding for finding in found.findings if finding.id != "log-unexplained-error"]) >= 2
    assert "first and last" in found.notes[0]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "names nothing"),
        ({"router": "ftp://a"}, "neither http nor https"),
        ({"workers": [{"url": "a:1", "role": "boss"}]}, "role"),
        ({"router": "a:1", "argv": ["sh"]}, "argv"),
        ({"router": "x" * 2000}, "router"),
        ({"router": "a:1", "name": "A/B"}, "is not a name"),
    ],
)
def test_a_bad_form_gets_one_sentence(tmp_path: Path, body: object, said: str) -> None:
    source = SimulatedSource(tmp_path)
    with TestClient(build_api(source)) as client:
        answer = client.post("/api/attach", json=body)
    assert answer.status_code in {400, 422}
    assert said in answer.json()["error"]
    assert not source.runs()
