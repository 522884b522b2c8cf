"""What single values of a Deployment must be like; each rule says what is wrong and what to write instead.

Knows nothing of how the fields hang together; `panel.deployment` puts the rules on its fields.
"""

from __future__ import annotations

import ipaddress
import math
import re
import unicodedata

from pydantic_core import PydanticCustomError

__all__ = [
    "Scalar",
    "env_name",
    "flag_name",
    "flag_value",
    "gpu_index",
    "host_pattern",
    "listening_host",
    "nic_name",
    "no_boolean",
    "plain_text",
    "program",
    "reachable_host",
    "usable_model",
    "usable_name",
    "version_text",
    "wrong",
]

Scalar = str | int | float | bool
_MOST_VALUES = 1024
_LONGEST_HOST = 253
_MOST_CHARACTERS = 16384  # Linux takes 131072 bytes for one argument.
# Characters that show a line in another order than it is run in.
_TURNING = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))
_OWNED_ENV = frozenset({"PDPANEL_RUN_ID", "PDPANEL_PROCESS", "PDPANEL_CACHE_DIR"})
_OWNED_FLAGS = {
    "model-path": "write the model in the field model",
    "model": "write the model in the field model",
    "served-model-name": "write it in the field served_model_name",
    "host": "write it in the field host",
    "port": "leave it out, the plan picks free ports, and router.port sets the router's",
    "disaggregation-mode": "leave it out, the role sets it",
    "disaggregation-bootstrap-port": "leave it out, the plan picks a free one",
    "disaggregation-transfer-backend": "write it in the field transport",
    "pd-disaggregation": "leave it out, the roles set it",
    "prefill": "leave it out, the plan names the workers",
    "decode": "leave it out, the plan names the workers",
    "worker-urls": "leave it out, the plan names the workers",
    "policy": "write it in the field router.policy",
}


def wrong(problem: str, remedy: str) -> PydanticCustomError:
    """Returns the error that becomes a ConfigError with this problem and remedy."""
    # Through the context, so that braces in a value are never taken for a template.
    return PydanticCustomError("pdpanel", "{problem}", {"problem": problem, "remedy": remedy})


def plain_text(value: str) -> str:
    """Passes one line of text without control characters."""
    if len(value) > _MOST_CHARACTERS:
        raise wrong(f"has more than {_MOST_CHARACTERS} characters", "write less, or name a file that holds it")
    if any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} or char in _TURNING for char in value):
        raise wrong("contains control characters", "write it as one line of plain text")
    return value


def program(value: str) -> str:
    """Passes the name of a program, a folder or an image, which nothing can take for an option."""
    if value.startswith("-"):
        raise wrong("starts with a dash, like an option", "write a name, or ./ in front of a path that does")
    if not value.strip():
        raise wrong("is empty", "write a name or a path, or leave it out")
    return value


def no_boolean(value: object) -> object:
    """Passes anything but a yes/no value, which Python would take for 1 or 0."""
    if isinstance(value, bool):
        raise wrong("is a yes/no value", "write a whole number")
    return value


def usable_model(value: str) -> str:
    """Passes a name that is not empty and cannot be taken for a flag."""
    if not value.strip():
        raise wrong("is empty", "name a model, a folder, a .gguf file or a Hub id, such as SmolLM2-135M-Instruct")
    if value.startswith("-"):
        raise wrong("starts with a dash, like a flag", "write ./ in front of a path that does")
    return value


def usable_name(value: str) -> str:
    """Passes what is safe in file names and labels."""
    if not re.fullmatch(r"[a-z0-9-]{1,40}", value):
        raise wrong("is not a usable name", "use 1 to 40 of the characters a-z, 0-9 and -")
    return value


def version_text(value: object) -> object:
    """Passes a version; YAML reads 0.33 as a number, which would lose what 0.30 ends with."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise wrong("is a number, which would lose a last zero", "write the version in quotes, such as '0.5.23'")
    if (
        isinstance(value, str)
        and value
        and not re.fullmatch(r"v?[0-9]{1,4}(\.[0-9]{1,4}){1,3}[a-z0-9.+-]{0,40}", value)
    ):
        raise wrong("is not a version", "write it as the package does, such as '0.5.23' or '0.4.5.post1'")
    return value


def reachable_host(value: str) -> str:
    """Passes a host name or an address that peers can connect to."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        if not re.fullmatch(r"(?!-)[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*", value) or len(value) > _LONGEST_HOST:
            raise wrong("is not a host name or an address", "write 127.0.0.1 or an address of this host") from None
        # Whoever opens a URL reads a last part of digits as an address: 1 is 0.0.0.1.
        if value.rpartition(".")[2].isdecimal():
            raise wrong("is not an address", "write four numbers from 0 to 255, or a name") from None
        return value
    if getattr(address, "scope_id", None) is not None:
        remedy = "write an address without %, which is the same everywhere, or a name"
        raise wrong("holds the name of an interface, which is another one on each host", remedy)
    if address.is_unspecified or address.is_multicast or value == "255.255.255.255":
        raise wrong("names no address that peers could reach", "write 127.0.0.1 or one address of this host")
    return value


def listening_host(value: str) -> str:
    """Passes a host name or an address to listen on, also all of them (0.0.0.0)."""
    return value if value in {"0.0.0.0", "::"} else reachable_host(value)


def host_pattern(value: str) -> str:
    """Passes a host name, an address, or hosts in Slurm's short form such as node[01-08]."""
    if re.fullmatch(r"(?!-)[A-Za-z0-9.-]{0,200}\[[0-9,-]{1,200}\][A-Za-z0-9.-]{0,200}", value):
        return value
    return reachable_host(value)


def nic_name(value: str) -> str:
    """Passes the name of an RDMA device as the kernel gives it."""
    if "," in value or value != value.strip():
        raise wrong("holds a comma or a space", "write one device per entry of the list")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}", value):
        raise wrong("is not the name of an RDMA device", "write one of /sys/class/infiniband, such as mlx5_0")
    return value


def gpu_index(value: str) -> str:
    """Passes the index of a GPU as text."""
    if not re.fullmatch(r"[0-9]{1,4}", value):
        raise wrong("is not the index of a GPU", "write a whole number in quotes, such as '0'")
    return value


def flag_name(value: str) -> str:
    """Passes a flag's name without dashes in front that is not the plan's own."""
    bare = value.lstrip("-").replace("_", "-").lower()
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", value):
        raise wrong("is not a flag's name", f"write it without dashes in front, such as {bare[:60] or 'page-size'}")
    if value in _OWNED_FLAGS:
        raise wrong("is a flag that the plan sets itself", _OWNED_FLAGS[value])
    return value


def flag_value(value: object) -> Scalar | list[Scalar]:
    """Passes a value, or a list of values, that survives YAML and a command line."""
    if isinstance(value, list):
        if len(value) > _MOST_VALUES:
            raise wrong(f"has more than {_MOST_VALUES} values", "write fewer")
        for item in value:
            if isinstance(item, str) and item.startswith("--"):
                raise wrong("has a value that would be taken for a flag", "write that flag as an entry of its own")
        return [_scalar(item) for item in value]
    return _scalar(value)


def _scalar(value: object) -> Scalar:
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise wrong("is not a finite number", "write a number")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise wrong("is too large a number", "write a number of at most 64 bits")
    if not isinstance(value, int | float):
        raise wrong("is not a flag's value", "write text, a number, true or false, or a list of them")
    return value


def env_name(value: str) -> str:
    """Passes a variable's name that is not the plan's own."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,199}", value):
        raise wrong("is not the name of an environment variable", "use letters, digits and _")
    if value in _OWNED_ENV:
        raise wrong("is a variable that the plan sets itself", "leave it out")
    return value
