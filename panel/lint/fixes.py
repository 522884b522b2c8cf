"""What to change in a command for each finding that has a plain correction. The rules themselves are the doctor's.

Pure. A fix is looked up by the finding's id and is given the commands that its evidence was read from; it trusts the
finding that something is wrong, and finds the words that say it. Findings without a fix here stay findings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from urllib.parse import urlsplit

from ...nic_probe.finding import Finding, Severity
from ..doctor.agreement_values import V0_KEYS, kv_keys
from ..doctor.command import Option, read_json
from ..doctor.flag_history import ATTN_DP_SINCE, version_of
from ..doctor.worker import Engine, WorkerArguments, WorkerRole
from .json_text import compact, repair
from .rewrite import Rewrite

__all__ = ["FIXES", "fix"]

_ROUTER_PORT = "8000"
_ROUTER_MODULE = "sglang_router.launch_router"
_DP = ("dp-size", "dp", "data-parallel-size")


def fix(finding: Finding, rewrites: Sequence[Rewrite]) -> bool:
    """Makes the changes that a finding asks for; False when it has none or they are made already.

    Args:
        finding: of one deployment.
        rewrites: every command of that deployment.
    """
    mend = FIXES.get(finding.id)
    if mend is None:
        return False
    sources = {evidence.source for evidence in finding.evidence}
    return mend(finding, [one for one in rewrites if one.written.worker.source in sources], rewrites)


def _each(mend: Callable[[Finding, Rewrite], bool]) -> _Fix:
    """Returns the fix that mends every command that a finding was seen in."""

    def all_of(finding: Finding, concerned: Sequence[Rewrite], _: Sequence[Rewrite]) -> bool:
        return any([mend(finding, rewrite) for rewrite in concerned])

    return all_of


def _router_options(_: Finding, rewrite: Rewrite) -> bool:
    done = False
    if rewrite.written.worker.role is not WorkerRole.ROUTER:
        return False
    for option in rewrite.options("prefill", "decode"):
        if option.values and "," in option.values[0]:
            done |= rewrite.replace_option(option, *_split_urls(option))
    names = rewrite.options("prefill", "decode")
    if names and not rewrite.written.fragment and not rewrite.options("pd-disaggregation"):
        first = rewrite.written.first
        done |= rewrite.replace(first, first, "--pd-disaggregation")
    return done


def _split_urls(option: Option) -> list[str]:
    words: list[str] = []
    for url in filter(None, option.values[0].split(",")):
        words += [f"--{option.name}", url, *option.values[1:]]
    return words


def _dp(_: Finding, rewrite: Rewrite) -> bool:
    options = rewrite.options(*_DP)
    if not options or not options[-1].values:
        return False
    value = options[-1].values[0]
    if version_of(rewrite.written.worker) >= ATTN_DP_SINCE:
        return rewrite.replace_option(options[-1], "--attn-dp-size", value)
    return rewrite.replace_option(options[-1], "--dp-size", value, "--enable-dp-attention")


def _mini_lb(_: Finding, rewrite: Rewrite) -> bool:
    module = rewrite.written.worker.program
    if module not in rewrite.words[: rewrite.written.first]:
        return False
    place = list(rewrite.words).index(module)
    ports = [port for option in rewrite.options("prefill-bootstrap-ports") for port in option.values]
    rewrite.replace(place, place + 1, _ROUTER_MODULE)
    first = rewrite.written.first
    rewrite.replace(first, first, "--pd-disaggregation")
    urls = 0
    for option in rewrite.options("prefill", "decode"):
        words: list[str] = []
        for url in (url for value in option.values for url in value.split(",") if url):
            words += [f"--{option.name}", url]
            if option.name == "prefill" and urls < len(ports):
                words.append(ports[urls])
            urls += option.name == "prefill"
        rewrite.replace_option(option, *words)
    for option in rewrite.options("prefill-bootstrap-ports", "rust-lb"):
        rewrite.replace_option(option)
    return True


def _kv_config(_: Finding, rewrite: Rewrite) -> bool:
    """Writes the KV transfer configuration anew with the keys that vLLM has, as JSON that a shell keeps."""
    done = False
    for option in rewrite.options("kv-transfer-config"):
        config = read_json(" ".join(option.values))
        meant = config if isinstance(config, dict) else None
        if meant is None:
            continue
        right = _right_kv_config(meant, kv_keys(rewrite.written.worker.version))
        if right != meant:
            done |= rewrite.replace_option(option, "--kv-transfer-config", compact(right))
    return done


def _right_kv_config(config: Mapping[str, object], known: Sequence[str]) -> dict[str, object]:
    """Returns a KV transfer configuration with today's keys, spelt right where the meaning is plain."""
    right: dict[str, object] = {}
    for key, value in config.items():
        near = [key] if key in known else get_close_matches(key, known, n=1, cutoff=0.7)
        if key in V0_KEYS or not near or near[0] in right:
            continue
        right[near[0]] = value
    role = right.get("kv_role")
    if isinstance(role, str):
        near_role = get_close_matches(role, ("kv_producer", "kv_consumer", "kv_both"), n=1, cutoff=0.5)
        right["kv_role"] = near_role[0] if near_role else role
    return right


def _json(_: Finding, rewrite: Rewrite) -> bool:
    done = False
    text, spans = rewrite.written.text, rewrite.written.command.spans
    for option in rewrite.options(
        *("kv-transfer-config", "ec-transfer-config", "hicache-storage-backend-extra-config"),
        *("json-model-override-args", "disaggregation-ib-device"),
    ):
        start, end = option.start, option.end
        raw = " ".join(option.values)
        if not raw.strip() or read_json(raw) is not None or "$" in raw:
            continue
        if not option.joined and end <= len(spans) and spans[start + 1][0] < spans[end - 1][1]:
            raw = text[spans[start + 1][0] : spans[end - 1][1]]
        meant = repair(raw) or repair(raw.strip("'\"")) or repair(" ".join(option.values))
        if meant is not None:
            done |= rewrite.replace_option(option, f"--{option.name}", compact(meant))
    return done


def _presence(finding: Finding, rewrite: Rewrite) -> bool:
    done = False
    for evidence in finding.evidence:
        name, equals, _ = evidence.value.partition("=")
        if equals and evidence.source == rewrite.written.worker.source and name in rewrite.written.worker.env:
            done |= _set_variable(rewrite, name, f"{name}=1" if finding.corrected == "1" else None)
    return done


def _config_path(_: Finding, rewrite: Rewrite) -> bool:
    return "MOONCAKE_CONFIG_PATH" in rewrite.written.worker.env and _set_variable(rewrite, "MOONCAKE_CONFIG_PATH", None)


def _renamed(finding: Finding, rewrite: Rewrite) -> bool:
    done = False
    env = rewrite.written.worker.env
    for evidence in finding.evidence:
        name, equals, _ = evidence.value.partition("=")
        if equals and name in env and finding.corrected:
            done |= _set_variable(rewrite, name, f"{finding.corrected}={env[name]}")
    return done


def _set_variable(rewrite: Rewrite, name: str, assignment: str | None) -> bool:
    """Changes a variable where it is set: among the words of `env` or `docker run -e`, else before the command."""
    for place, word in enumerate(rewrite.words[: rewrite.written.first]):
        bare = word.removeprefix("--env=").removeprefix("-e=")
        if bare.partition("=")[0] != name or "=" not in bare:
            continue
        prefix = word[: len(word) - len(bare)]
        if assignment is not None:
            return rewrite.replace(place, place + 1, prefix + assignment)
        option = place > 0 and rewrite.words[place - 1] in {"-e", "--env"}
        return rewrite.replace(place - 1 if option else place, place + 1)
    return rewrite.variable(name, assignment)


def _short(finding: Finding, rewrite: Rewrite) -> bool:
    done = False
    whole = (finding.corrected or "").lstrip("-")
    for evidence in finding.evidence:
        if evidence.source != rewrite.written.worker.source or not whole:
            continue
        short = evidence.value.partition("--")[2].partition(" ")[0]
        for option in rewrite.options(short):
            done |= rewrite.replace_option(option, *_option_words(option, whole))
    return done


def _option_words(option: Option, name: str) -> list[str]:
    if option.joined:
        return [f"--{name}={option.values[0]}"]
    return [f"--{name}", *option.values]


def _encoder_urls(_: Finding, rewrite: Rewrite) -> bool:
    done = False
    for option in rewrite.options("encoder-urls", "encoder-register-urls"):
        if any("," in value for value in option.values):
            urls = [url for value in option.values for url in value.split(",") if url]
            done |= rewrite.replace_option(option, f"--{option.name}", *urls)
    return done


def _twice(finding: Finding, rewrite: Rewrite) -> bool:
    """Leaves the last of several, which is the one that counts."""
    done = False
    for evidence in finding.evidence:
        name = evidence.value.removeprefix("--").partition(" ")[0]
        for option in rewrite.options(name)[:-1]:
            done |= rewrite.replace_option(option)
    return done


def _port_clash(finding: Finding, concerned: Sequence[Rewrite], all_of: Sequence[Rewrite]) -> bool:
    """A router that took the engine's own port gets the documents' one."""
    taken = {option.values[0] for one in all_of for option in one.options("port") if option.values}
    for rewrite in concerned:
        if rewrite.written.worker.role is WorkerRole.ROUTER and not rewrite.options("port"):
            return _ROUTER_PORT not in taken and rewrite.append("--port", _ROUTER_PORT)
    return False


def _bootstrap_clash(finding: Finding, concerned: Sequence[Rewrite], _: Sequence[Rewrite]) -> bool:
    if finding.severity is not Severity.ERROR or not finding.corrected or not concerned:
        return False
    last = concerned[-1]
    if last.written.worker.engine is Engine.VLLM:
        return _set_variable(last, "VLLM_MOONCAKE_BOOTSTRAP_PORT", f"VLLM_MOONCAKE_BOOTSTRAP_PORT={finding.corrected}")
    return last.set_option("disaggregation-bootstrap-port", finding.corrected)


def _bootstrap_mismatch(finding: Finding, _: Sequence[Rewrite], all_of: Sequence[Rewrite]) -> bool:
    """Lets the router name prefill's own port: decode asks where the router says."""
    words = finding.remedy.partition("--prefill ")[2].split()
    if not words or finding.corrected is None:
        return False
    for rewrite in all_of:
        if rewrite.written.worker.role is not WorkerRole.ROUTER:
            continue
        for option in rewrite.options("prefill"):
            if option.values and option.values[0] == words[0]:
                return rewrite.replace_option(option, "--prefill", words[0], finding.corrected)
    return False


def _gpu_shared(finding: Finding, concerned: Sequence[Rewrite], _: Sequence[Rewrite]) -> bool:
    if finding.severity is not Severity.ERROR or not finding.corrected or len(concerned) != 2:
        return False
    other = concerned[-1]
    if other.written.worker.engine is not Engine.SGLANG:
        return False
    return other.set_option("base-gpu-id", finding.corrected)


def _loopback(_: Finding, concerned: Sequence[Rewrite], all_of: Sequence[Rewrite]) -> bool:
    """Gives a worker the address that its group or its router knows it by."""
    done = False
    for rewrite in concerned:
        worker = rewrite.written.worker
        if worker.serves and not rewrite.options("host") and (address := _address_of(worker, all_of)):
            done |= rewrite.append("--host", address)
    return done


def _address_of(worker: WorkerArguments, all_of: Sequence[Rewrite]) -> str:
    if worker.node:
        return worker.node
    if worker.number("nnodes", 1) > 1 and worker.number("node_rank", 0) == 0:
        return worker.get("dist_init_addr").rpartition(":")[0].strip("[]")
    if worker.number("nnodes", 1) > 1:
        return ""
    hosts: set[str] = set()
    for rewrite in all_of:
        for option in rewrite.options(worker.role.value):
            for url in option.values:
                parts = _url(url)
                if parts is not None and parts[1] == worker.number("port", 30000):
                    hosts.add(parts[0])
    return hosts.pop() if len(hosts) == 1 else ""


def _url(text: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(text)
        return (parts.hostname, parts.port or 80) if parts.scheme and parts.hostname else None
    except ValueError:
        return None


_Fix = Callable[[Finding, Sequence[Rewrite], Sequence[Rewrite]], bool]
FIXES: Mapping[str, _Fix] = {
    "router-options": _each(_router_options),
    "dp-without-attention": _each(_dp),
    "mini-lb-gone": _each(_mini_lb),
    "vllm-v0-kv-config": _each(_kv_config),
    "vllm-kv-config": _each(_kv_config),
    "option-json": _each(_json),
    "variable-presence": _each(_presence),
    "config-path-ignored": _each(_config_path),
    "variable-unread": _each(_renamed),
    "flag-abbreviated": _each(_short),
    "encoder-urls-joined": _each(_encoder_urls),
    "flag-twice": _each(_twice),
    "port-clash": _port_clash,
    "bootstrap-port-clash": _bootstrap_clash,
    "bootstrap-port-mismatch": _bootstrap_mismatch,
    "gpu-shared": _gpu_shared,
    "host-loopback": _loopback,
}
