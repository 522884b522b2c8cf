"""What the live host says of itself and no kernel file does: addresses, limits, device nodes, libraries, packages.

Raises nothing and does not hang: what may do so is asked in other processes. Called by the live probe and by `write`.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import resource
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

__all__ = ["allowed_variables", "collect_facts"]

_FACTS_S = 1.5
_LIBRARIES = "libibverbs.so.1 libmlx5.so.1 libnl-3.so.200 libnl-route-3.so.200 libnuma.so.1 libcudart.so.12 "
_LIBRARIES += "libcudart.so.13 libcuda.so.1 libnvidia-ml.so.1 libamd_smi.so libcurl.so.4"
_PACKAGES = r"sglang|vllm|torch|sglang-router|smg|nvidia-ml-py|transformers|mooncake-transfer-engine.*|nixl.*"
_DEVICES = "/dev/infiniband/uverbs* /dev/infiniband/rdma_cm /dev/nvidia* /dev/kfd /dev/davinci* /dev/gdrdrv"
_VARIABLES = "*_VISIBLE_DEVICES CUDA_DEVICE_ORDER MC_* MOONCAKE_* NCCL_* GLOO_SOCKET_IFNAME UCX_* WITH_NVIDIA_PEERMEM "
_VARIABLES += "VLLM_* SGLANG_* LD_LIBRARY_PATH LD_PRELOAD PYTHONPATH *_proxy *_PROXY"
_SECRET = re.compile("KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH|COOKIE|PRIVATE|CERT", re.IGNORECASE)

# What may hang (a file system, a resolver) or end its process (a broken library) is asked for in other processes.
_CHILD = """
import os, socket, sys
def say(*words):
    os.write(1, ("\\t".join(words).replace("\\n", " ") + "\\n").encode("utf-8", "replace"))
def space(path):
    state = os.statvfs(path)
    say("space", path, str(state.f_blocks * state.f_frsize), str(state.f_bavail * state.f_frsize))
def clock(_):
    state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    if state >= 0:
        say("clock", "" if state == 5 else "synchronised")
def names(_):
    for found in socket.getaddrinfo(socket.gethostname(), None, 0, socket.SOCK_STREAM):
        say("host", found[4][0])
def library(name):
    try:
        ctypes.CDLL(name)
        say("library", name, "")
    except OSError as error:
        say("library", name, str(error))
tasks = {}
def run(function, word):
    pid = os.fork()
    if pid:
        tasks[pid] = word
        return
    try:
        function(word)
    finally:
        os._exit(0)
for path in "/dev/shm", "/tmp":
    run(space, path)
run(names, "")
import ctypes
run(clock, "")
for name in sys.argv[1:]:
    run(library, name)
for _ in tuple(tasks):
    pid, status = os.wait()
    if status and tasks[pid] in sys.argv[1:]:
        say("library", tasks[pid], "ends the process that loads it")
"""


class _Child:
    """A process that is waited for until a time of the monotonic clock; then it is killed and left behind."""

    def __init__(self, argv: list[str], environ: Mapping[str, str]) -> None:
        null = subprocess.DEVNULL
        self._process = subprocess.Popen(
            argv, stdin=null, stdout=subprocess.PIPE, stderr=null, env=environ, cwd="/", start_new_session=True
        )

    def answer(self, deadline: float) -> str:
        """Returns what it has printed."""
        pipe, process, parts = self._process.stdout, self._process, []
        if pipe is None:
            return ""
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            part = os.read(pipe.fileno(), 1 << 16)
            if not part:
                break
            parts.append(part)
        else:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
        pipe.close()
        grace = time.monotonic() + 0.1
        while process.poll() is None and time.monotonic() < grace:
            time.sleep(0.001)
        if process.returncode is None:
            process.returncode = -signal.SIGKILL  # It waits for a driver, and nobody can wait for it.
        return b"".join(parts).decode("utf-8", "replace")


def collect_facts(environ: Mapping[str, str], gpus_within_s: float = 0.0) -> dict[str, Any]:
    """Returns what no kernel file says of the live host, as plain JSON; a key that is absent is unknown.

    Raises nothing and waits 1.5 s at most, and longer for the GPUs alone. Keys: version, taken_at, python, addresses,
    rlimits (-1 is unlimited), space (bytes), devices, libraries (the loader's error, empty when the library loads),
    packages, missing_libraries (those that an installed package needs and the loader does not find), wheel_libraries
    (those of them that another package brings, for torch to load), environ, hostname_addresses, clock, gpus (the rows
    of nvidia-smi).

    Args:
        environ: the variables that a worker would inherit; what is kept of them is allowed by name, without secrets.
        gpus_within_s: how long to wait for nvidia-smi; 0 does not ask it.
    """
    now = time.monotonic()
    taken_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    host = tracer = gpus = None
    try:
        gpus = _nvidia_smi(environ) if gpus_within_s else None
        host = _Child([sys.executable or "python3", "-I", "-S", "-B", "-c", _CHILD, *_LIBRARIES.split()], environ)
        engines = _on_path("mooncake/engine*.so")
        loaders = glob.glob("/lib64/ld-linux-*.so.*") + glob.glob("/lib/ld-linux-*.so.*")
        if engines and loaders:
            tracer = _Child([loaders[0], engines[0]], {**environ, "LD_TRACE_LOADED_OBJECTS": "1"})
    except (OSError, ValueError):
        pass  # No process can be started, so what it would have said stays unknown.

    facts = {"version": 1, "taken_at": taken_at, "python": sys.version.split()[0], **_own_facts()}
    facts["environ"] = allowed_variables(environ)
    facts.update(_told(host.answer(now + _FACTS_S)) if host else {})
    facts.update(_traced(tracer.answer(now + _FACTS_S)) if tracer else {})
    rows = list(_smi_rows(gpus.answer(now + gpus_within_s))) if gpus else []
    return {**facts, "gpus": {"nvidia_smi": rows}} if rows else facts


def _own_facts() -> dict[str, Any]:
    facts: dict[str, Any] = {}
    parts = {"addresses": _addresses, "rlimits": _rlimits, "devices": _devices, "packages": _packages}
    for key, part in parts.items():
        try:
            facts[key] = part()
        except (OSError, ValueError, struct.error):
            continue
    return facts


def _told(text: str) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for words in (line.split("\t") for line in text.splitlines()):
        if words[0] == "library" and len(words) == 3:
            facts.setdefault("libraries", {})[words[1]] = words[2]
        elif words[0] == "space" and len(words) == 4:
            facts.setdefault("space", {})[words[1]] = {"total_bytes": int(words[2]), "free_bytes": int(words[3])}
        elif words[0] == "clock" and len(words) == 2:
            facts["clock"] = {"synchronised": bool(words[1]), "source": "adjtimex"}
        elif words[0] == "host" and len(words) == 2:
            facts["hostname_addresses"] = sorted({*facts.get("hostname_addresses", ()), words[1]})
    return facts


def _traced(text: str) -> dict[str, Any]:
    if "=>" not in text:
        return {}
    missing = sorted({line.split()[0] for line in text.splitlines() if line.endswith("=> not found")})
    brought = [name for name in missing if _on_path(f"nvidia/*/lib/{name}")]
    return {"missing_libraries": {"mooncake": missing}, "wheel_libraries": brought}


def allowed_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables that are allowed by name, without the credentials in URLs and in `name=value` pairs."""
    shown: dict[str, str] = {}
    for name in sorted(environ):
        if not any(fnmatchcase(name, allowed) for allowed in _VARIABLES.split()) or _SECRET.search(name):
            continue
        value = re.sub(r"://\S*@", "://***@", environ[name])
        if "://" not in value and "PATH" not in name and "PRELOAD" not in name:
            value = re.sub(r"\S*:\S*@", "***@", value)  # A proxy may be given without http://.
        shown[name] = re.sub(rf"(?i)(\w*(?:{_SECRET.pattern})\w*=)[^\s&;,]+", r"\1***", value)
    return shown


def _on_path(pattern: str) -> list[str]:
    folders = dict.fromkeys(folder for folder in sys.path if folder)
    return [path for folder in folders for path in glob.glob(os.path.join(glob.escape(folder), pattern))]


def _addresses() -> dict[str, list[str]]:
    names = dict(socket.if_nameindex())
    table: dict[str, list[str]] = {name: [] for name in names.values()}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as link:
        link.settimeout(0.3)
        link.send(struct.pack("=IHHIIBBBBI", 24, 22, 0x301, 1, 0, 0, 0, 0, 0, 0))  # RTM_GETADDR, all families
        while True:
            data = link.recv(1 << 17)
            while len(data) >= 16:
                length, kind = struct.unpack_from("=IH", data)
                if kind != 20 or length < 24:  # Not RTM_NEWADDR: the end, or an error.
                    return table
                family, prefix, index = struct.unpack_from("=BBxxI", data, 16)
                place, found = 24, {}
                while place + 4 <= length:
                    size, attribute = struct.unpack_from("=HH", data, place)
                    found[attribute] = data[place + 4 : place + size]
                    place += max(size + 3 & ~3, 4)
                raw = found.get(2, found.get(1, b""))  # Its own address; with none, the only one that there is.
                if index in names and len(raw) in (4, 16):
                    table[names[index]].append(f"{socket.inet_ntop(family, raw)}/{prefix}")
                data = data[length + 3 & ~3 :]


def _rlimits() -> dict[str, list[int]]:
    names = ("memlock", "nofile", "stack", "core", "nproc")
    return {name: list(resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))) for name in names}


def _devices() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {"/dev/infiniband/rdma_cm": {"kind": "absent"}}
    for path in sorted(path for pattern in _DEVICES.split() for path in glob.glob(pattern)):
        try:
            mode = os.stat(path).st_mode
        except OSError:
            found[path] = {"kind": "absent"}
            continue
        if not stat.S_ISDIR(mode):
            kind = "character" if stat.S_ISCHR(mode) else "other"
            found[path] = {"kind": kind, "readable": os.access(path, os.R_OK), "writable": os.access(path, os.W_OK)}
    return found


def _packages() -> dict[str, str]:
    found: dict[str, str] = {}
    for path in _on_path("*-*.dist-info") + _on_path("*-*.egg-info"):
        name, version = os.path.basename(path)[: -len(".dist-info")].split("-")[:2]
        name = re.sub(r"[-_.]+", "-", name).lower()
        if re.fullmatch(_PACKAGES, name):
            found.setdefault(name, version)
    return found


def _nvidia_smi(environ: Mapping[str, str]) -> _Child | None:
    program = shutil.which("nvidia-smi", path=environ.get("PATH"))
    fields = "index,uuid,name,pci.bus_id,memory.total,memory.used"
    return _Child([program, f"--query-gpu={fields}", "--format=csv,noheader,nounits"], environ) if program else None


def _smi_rows(text: str) -> Iterator[dict[str, Any]]:
    for row in (line.split(", ") for line in text.splitlines()):
        if len(row) == 6 and row[0].isdecimal():
            sizes = [int(size) << 20 if size.isdecimal() else None for size in row[4:]]
            named = {"index": int(row[0]), "uuid": row[1], "name": row[2], "pci": row[3].lower()[-12:]}
            yield {**named, "memory_total_bytes": sizes[0], "memory_used_bytes": sizes[1]}
