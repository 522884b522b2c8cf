"""Takes secrets out of text that leaves the panel: reports, exports, logs, /metrics.

Pure: text in, text out; knows no file and no environment. A secret is known by its own shape (`hf_...`, `Bearer ...`,
a private key), by the name before it (`--api-key X`, `HF_TOKEN=X`, `"password": "x"`) or by its place in a URL.
When in doubt it takes too much. `Redactor` takes a person's home and name out as well, and counts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["REDACTED", "Redacted", "Redactor", "is_secret_name", "redact", "redact_mapping"]

REDACTED = "<redacted>"

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRET_WORDS = frozenset(
    "apikey authorization authtoken cookie cookies credential credentials jwt passphrase passwd password passwords pwd "
    "secret secrets".split()
)
# Of a lower-case name "key" alone says nothing: a dictionary has keys.
_KEYS_OF = frozenset(
    "access account admin api auth encryption license master private secret service signing ssh".split()
)
# Tokens of a language model.
_TOKENS_OF = frozenset(
    "bos cached cls decode decoded decoding eos eot first generated input last mask max min new next num output pad "
    "per prefill prompt sep special stop unk".split()
)
# What such a name says where the secret is, not what it is.
_PLACES = frozenset("dir directory file folder id ids path url usage".split())
_PLAIN_VALUE = re.compile(r"(?i)(?:true|false|yes|no|on|off|none|null|)")
_NUMBER = re.compile(r"[-+]?[0-9]{1,9}(?:\.[0-9]+)?")

# A word begins here; in JSON and in a repr, "\n" stands right before it.
_BEGIN = r"(?:(?<![\w.\\-])|(?<=\\[nrtbf]))"
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{0,40}-----|\Z)", re.DOTALL
)
_URL_USER = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]{1,30}://)[^\s/?#\"'<>]{1,500}@")
_HEADER = re.compile(
    rf"(?i){_BEGIN}((?:proxy-)?authorization|(?:set-)?cookie|x-(?:api-key|auth-token))"
    r"(\\*[\"'])?(\s{0,9}[:=,]\s{0,9}b?)(?:(\\*[\"'])((?:(?!\4)[^\r\n])*)|([^\"'\r\n\\]*))"
)
_NAMED = re.compile(
    # The stems are looked for first: almost no word of a log has one.
    rf"{_BEGIN}(?=[\w.-]{{0,99}}(?i:token|key|secret|pass|pwd|credential|auth|cookie|jwt))([\w.-]{{1,100}})(\\*[\"'])?"
    # After a flag a blank or, in a list, a comma is enough.
    r"(\s{0,9}[:=][ \t]{0,9}|(?<=[\"'])\s{0,9},\s{0,9}|(?:\s|\\{1,4}[\nnrt]){1,9}(?:-\s{1,9})?)"
    r"(?:(\\*[\"'])((?:(?!\4)(?:\\.|[^\\\r\n]))*)|((?:[^\s\"'\\]|\\(?![\"'nrt\s]))+))"
)
_SHAPES = re.compile(
    r"(?:(?<![A-Za-z0-9])|(?<=\\[nrtbf]))(?:"
    r"hf_(?:[A-Za-z0-9]{20,}|(?=[A-Za-z]{0,20}[0-9])[A-Za-z0-9]{8,})"
    r"|(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}|nvapi-[A-Za-z0-9_-]{16,}|glpat-[A-Za-z0-9_-]{16,}|xox[abeprs]-[A-Za-z0-9-]{10,}"
    r"|gh[opsur]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|A(?:KIA|SIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{35}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*"
    r")"
)
_BEARER = re.compile(rf"(?i){_BEGIN}(bearer\s{{1,9}})(?!<redacted>)[A-Za-z0-9._~+/=-]{{6,}}")
_HOMES = re.compile(r"/(?:home|Users)/[\w.-]{1,64}")


def is_secret_name(name: str) -> bool:
    """Returns True when the value under `name` is a secret: a variable, a flag, a field or a header.

    `HF_TOKEN`, `--api-key` and `dbPassword` are; `max_tokens`, `eos_token`, `sort_key` and `TOKEN_PATH` are not.
    """
    words = [word.lower() for word in _WORDS.findall(name) if not word.isdigit()]
    if not words or (words[-1] in _PLACES and words[-2:] != ["key", "id"]):
        return False
    if _SECRET_WORDS.intersection(words) or words == ["auth"]:
        return True
    if words[-1] == "token":
        return len(words) == 1 or words[-2] not in _TOKENS_OF
    loud = name == name.upper()
    for place, word in enumerate(words):
        if word in {"key", "keys"} and (loud or (place and words[place - 1] in _KEYS_OF)):
            return True
    return False


@dataclass(frozen=True, slots=True)
class Redacted:
    """Text without its secrets, and how many were taken out, by kind: secret, password in a URL, home, user."""

    text: str
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Redactor:
    """Takes out secrets, and what names the person.

    Attributes:
        home: the person's home directory, shown as `~`; empty leaves paths as they are.
        user: the person's name on the host, shown as `user`; empty leaves it.
    """

    home: str = ""
    user: str = ""

    def apply(self, text: str) -> Redacted:
        """Returns `text` without secrets, home directories and the user's name; the same again changes nothing."""
        counts: Counter[str] = Counter()
        text = _replace(_PRIVATE_KEY, text, lambda found: REDACTED, counts, "secret")
        text = _replace(_URL_USER, text, lambda found: f"{found[1]}{REDACTED}@", counts, "password in a URL")
        text = _replace(_HEADER, text, _without_header, counts, "secret")
        text = _named(text, counts)
        text = _replace(_SHAPES, text, lambda found: REDACTED, counts, "secret")
        text = _replace(_BEARER, text, lambda found: f"{found[1]}{REDACTED}", counts, "secret")
        if self.home.strip("/"):
            own = re.compile(rf"(?<![\w.-]){re.escape(self.home.rstrip('/'))}(?![\w.-])")
            text = _replace(own, text, lambda found: "~", counts, "home")
            text = _replace(_HOMES, text, lambda found: "~", counts, "home")
        if self.user and self.user != "root":  # Everybody's name tells nothing.
            name = re.compile(rf"(?<![\w-]){re.escape(self.user)}(?![\w-])")
            text = _replace(name, text, lambda found: "user", counts, "user")
        return Redacted(text, dict(counts))


def redact(text: str) -> str:
    """Returns `text` without its secrets."""
    return Redactor().apply(text).text


def redact_mapping(env: Mapping[str, str]) -> dict[str, str]:
    """Returns `env` with the values of secret names, and the secrets inside other values, taken out."""
    return {name: REDACTED if value and is_secret_name(name) else redact(value) for name, value in env.items()}


def _replace(
    pattern: re.Pattern[str], text: str, by: Callable[[re.Match[str]], str], counts: Counter[str], kind: str
) -> str:
    def replaced(found: re.Match[str]) -> str:
        new = by(found)
        if new != found[0]:
            counts[kind] += 1
        return new

    return pattern.sub(replaced, text)


def _without_header(found: re.Match[str]) -> str:
    name, closing, between, quote, quoted, plain = found.groups()
    if "," in between and not closing:
        return found[0]
    value = quoted if quote else plain
    if not value.strip() or _PLAIN_VALUE.fullmatch(value.strip()):
        return found[0]
    return f"{name}{closing or ''}{between}{quote or ''}{REDACTED}"


def _named(text: str, counts: Counter[str]) -> str:
    """Takes out the values that follow a secret name.

    Not one substitution: the value of one name may itself be the next name, as in `--token --password x`.
    """
    parts: list[str] = []
    done = place = 0
    while (found := _NAMED.search(text, place)) is not None:
        value_at = found.start(5) if found[4] else found.start(6)
        place = value_at
        name, _, between, quote, quoted, plain = found.groups()
        if not is_secret_name(name):
            # The name alone is passed over: what follows it may be one.
            place = found.end(1)
            continue
        flag = name.startswith("-")
        if ("," in between or not between.strip(" \t\r\n-\\")) and not flag:
            continue
        value = quoted if quote else plain
        if _is_plain(name, value) or (flag and value.startswith("--")) or value == REDACTED:
            continue
        end = found.end(5) if quote else found.end(6)
        parts += [text[done:value_at], REDACTED]
        done = place = end
        counts["secret"] += 1
    return "".join((*parts, text[done:]))


def _is_plain(name: str, value: str) -> bool:
    value = value.rstrip(",;)]}")
    if _PLAIN_VALUE.fullmatch(value):
        return True
    words = [word.lower() for word in _WORDS.findall(name)]
    counted = name != name.upper() and not _SECRET_WORDS.intersection(words)
    return counted and _NUMBER.fullmatch(value) is not None
