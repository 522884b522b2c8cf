from __future__ import annotations

import pytest
from pdpanel.engine.errors import ConfigError
from pdpanel.panel.attach.address import base_url, refusal_of
from pdpanel.panel.attach.request import AttachRequest, WantedWorker
from pdpanel.panel.launch import Role


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("10.0.0.1:30000", "http://10.0.0.1:30000"),
        (" http://node-1:30000/ ", "http://node-1:30000"),
        ("https://[2001:db8::1]:443/pd/", "https://[2001:db8::1]:443/pd"),
    ],
)
def test_urls_are_kept_plain(text: str, kept: str) -> None:
    assert base_url("router", text) == kept


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not a URL"),
        ("http://a b", "is not a URL"),
        ("http://a\r\nX: y", "is not a URL"),
        ("http://a:99999", "is not a URL"),
        ("ftp://a", "neither http nor https"),
        ("file:///etc/passwd", "neither http nor https"),
        ("http://user:secret@a", "holds credentials"),
        ("http://a/?q=1", "is not the address of a server"),
        ("http://", "is not the address of a server"),
        ("http://169.254.169.254", "link-local"),
        ("http://[::ffff:169.254.169.254]", "link-local"),
        ("http://[fe80::1]", "link-local"),
        ("http://2852039166", "link-local"),
        ("http://0xa9fea9fe", "link-local"),
        ("http://0.0.0.0:1", "not the address of one host"),
    ],
)
def test_what_may_not_be_watched_is_refused_in_a_sentence(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        base_url("router", text)
    assert "secret" not in str(caught.value)


def test_names_are_judged_when_they_are_resolved() -> None:
    assert refusal_of("metadata.internal") == ""
    assert refusal_of("127.0.0.1") == ""


def test_a_request_is_checked_when_it_is_made() -> None:
    request = AttachRequest(workers=(WantedWorker("a:1", Role.PREFILL), WantedWorker("http://a:1/")), api_key="k")
    assert [worker.url for worker in request.workers] == ["http://a:1"]
    assert request.workers[0].role is Role.PREFILL
    assert "'k'" not in repr(request)
    with pytest.raises(ConfigError, match="names nothing"):
        AttachRequest()
    with pytest.raises(ConfigError, match="no header can hold") as caught:
        AttachRequest(router="a:1", api_key="one\r\nHost: evil")
    assert "evil" not in str(caught.value)
    with pytest.raises(ConfigError, match="is not a name"):
        AttachRequest(name="../x", router="a:1")
