"""Model snapshots from the Hugging Face Hub or ModelScope: from the local cache, else downloaded.

Owns which files of a repository are wanted, and turns the hubs' errors into one sentence each. The hubs' own
packages do the work and are imported only when a hub id is asked for.
"""

from __future__ import annotations

import functools
import importlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..config import Environment
from ..errors import ConfigError
from .disk import require_space
from .progress import OnProgress, Progress

__all__ = ["fetch_snapshot", "is_complete_snapshot"]

_WANTED = ["*.safetensors", "*.json", "*.jinja"]
_UNWANTED = ["*/*", "consolidated*"]
_POLL_S = 0.2
_LOCAL = "or give --model-path a local directory or .gguf file"


def is_complete_snapshot(directory: Path) -> bool:
    """Returns True when `directory` has a config, a tokenizer and every weight file that it speaks of."""
    try:
        index = json.loads((directory / "model.safetensors.index.json").read_text(encoding="utf-8"))
        weights = sorted(set(index["weight_map"].values()))
    except FileNotFoundError:
        weights = ["model.safetensors"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return all((directory / name).is_file() for name in ("config.json", "tokenizer.json", *weights))


def fetch_snapshot(model_id: str, environment: Environment, on_progress: OnProgress) -> Path:
    """Returns the local directory of the model `model_id`, downloading it when the hub's cache lacks it.

    Args:
        model_id: `owner/name`.
        environment: its token, offline switch and choice of hub hold.
        on_progress: called in this thread with the stage `download`.

    Raises:
        ConfigError: unknown or gated model, hub not reachable, no safetensors in it, or too little space.
    """
    if environment.use_modelscope:
        return _from_modelscope(model_id, environment, on_progress)
    return _from_hugging_face(model_id, environment, on_progress)


def _from_hugging_face(model_id: str, environment: Environment, on_progress: OnProgress) -> Path:
    hub = importlib.import_module("huggingface_hub")
    errors = importlib.import_module("huggingface_hub.errors")
    token = environment.hf_token or None
    choice: dict[str, Any] = {"allow_patterns": _WANTED, "ignore_patterns": _UNWANTED, "token": token}
    try:
        cached = Path(hub.snapshot_download(model_id, local_files_only=True, **choice))
    except (errors.LocalEntryNotFoundError, FileNotFoundError):
        cached = None
    except errors.HFValidationError:
        raise _refuse(model_id, "it is no valid model id", f"write owner/name, {_LOCAL}") from None
    if cached is not None and is_complete_snapshot(cached):
        return cached
    if environment.hf_offline:
        problem = "it is not in the cache and HF_HUB_OFFLINE is set"
        raise _refuse(model_id, problem, f"unset HF_HUB_OFFLINE, {_LOCAL}")
    try:
        info = hub.HfApi(token=token).model_info(model_id, files_metadata=True)
        wanted = {item.rfilename: item.size or 0 for item in info.siblings or [] if _is_wanted(item.rfilename)}
        _require_safetensors(model_id, wanted)
        hub.utils.disable_progress_bars()
        cache = Path(hub.constants.HF_HUB_CACHE)
        cache.mkdir(parents=True, exist_ok=True)
        folder = cache / f"models--{model_id.replace('/', '--')}"
        missing = sum(wanted.values()) - _bytes_in(folder)
        require_space(cache, max(missing, 0), field="--model-path", value=model_id)
        # Without a revision, so that the hub's cache remembers which snapshot the main branch is.
        download = functools.partial(hub.snapshot_download, model_id, **choice)
        return Path(_watched(download, folder, sum(wanted.values()), on_progress))
    except errors.GatedRepoError:
        problem = "the model is gated and this token has no access"
        raise _refuse(model_id, problem, "ask for access on its page and set HF_TOKEN") from None
    except errors.RepositoryNotFoundError:
        problem = "the Hub has no such model, or it is private"
        raise _refuse(model_id, problem, f"check the id, set HF_TOKEN if it is private, {_LOCAL}") from None
    except ConfigError:
        raise
    except OSError as error:
        if error.errno is not None and error.filename is not None:
            problem = f"it cannot be stored ({error.strerror} on {error.filename})"
            raise _refuse(model_id, problem, "see that HF_HOME has space and can be written") from None
        raise _unreachable(model_id, "the Hugging Face Hub", error) from None
    except Exception as error:  # huggingface_hub raises what its HTTP library raises
        raise _unreachable(model_id, "the Hugging Face Hub", error) from None


def _from_modelscope(model_id: str, environment: Environment, on_progress: OnProgress) -> Path:
    try:
        modelscope = importlib.import_module("modelscope")
    except ModuleNotFoundError:
        problem = "SGLANG_USE_MODELSCOPE is set and the package modelscope is not installed"
        remedy = "run `pip install modelscope` or unset SGLANG_USE_MODELSCOPE"
        raise _refuse(model_id, problem, remedy) from None
    choice: dict[str, Any] = {"allow_patterns": _WANTED, "ignore_patterns": _UNWANTED}
    try:
        cached = Path(modelscope.snapshot_download(model_id, local_files_only=True, **choice))
        if is_complete_snapshot(cached):
            return cached
    except Exception:  # a miss of the cache has no exception of its own
        pass
    if environment.hf_offline:
        problem = "it is not in ModelScope's cache and HF_HUB_OFFLINE is set"
        raise _refuse(model_id, problem, f"unset HF_HUB_OFFLINE, {_LOCAL}")
    on_progress(Progress("download", 0, 0))
    try:
        return Path(modelscope.snapshot_download(model_id, **choice))
    except Exception as error:  # modelscope raises what its HTTP library raises
        raise _unreachable(model_id, "ModelScope", error) from None


def _refuse(model_id: str, problem: str, remedy: str) -> ConfigError:
    return ConfigError("--model-path", model_id, problem, remedy)


def _unreachable(model_id: str, hub: str, error: Exception) -> ConfigError:
    lines = str(error).strip().splitlines()
    reason = lines[0].rstrip(". ") if lines else type(error).__name__
    problem = f"it is not in the cache and {hub} could not deliver it ({reason})"
    return _refuse(model_id, problem, f"connect once, {_LOCAL}")


def _is_wanted(name: str) -> bool:
    return (
        "/" not in name and not name.startswith("consolidated") and name.endswith((".safetensors", ".json", ".jinja"))
    )


def _require_safetensors(model_id: str, wanted: dict[str, int]) -> None:
    if "config.json" not in wanted or not any(name.endswith(".safetensors") for name in wanted):
        problem = "the repository holds no transformers model in safetensors"
        raise _refuse(model_id, problem, "choose another one, or download a .gguf file and give its path")


def _watched(download: Callable[[], str], folder: Path, total: int, on_progress: OnProgress) -> str:
    """Runs `download` in a thread of its own and reports the bytes in the hub's `folder` until it ends."""
    results: list[str] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            results.append(download())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, name="hub-download", daemon=True)
    thread.start()
    while thread.is_alive():
        on_progress(Progress("download", min(_bytes_in(folder), total), total))
        thread.join(_POLL_S)
    if failures:
        raise failures[0]
    on_progress(Progress("download", total, total))
    return results[0]


def _bytes_in(folder: Path) -> int:
    """Returns the bytes of the hub's blobs, finished and not."""
    total = 0
    for blob in folder.glob("blobs/*"):
        try:
            total += blob.stat().st_size
        except FileNotFoundError:
            continue
    return total
