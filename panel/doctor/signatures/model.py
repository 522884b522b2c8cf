"""What goes wrong with models: the hub, its access rights, damaged files, unknown architectures."""

from __future__ import annotations

from ....nic_probe.checks.check import Rule
from ....nic_probe.finding import Severity
from .signature import Signature, Speaker

__all__ = ["SIGNATURES"]

_HUB = r"(?:huggingface\.co|hf\.co|modelscope)"

SIGNATURES = (
    Signature(
        Rule(
            "log-model-gated",
            "The model needs a licence to be accepted",
            "Gated models are served to accounts that accepted their terms, and to their tokens alone.",
            ("Hugging Face documentation: gated models",),
        ),
        Speaker.HUB,
        Severity.ERROR,
        ("gated", "access to model"),
        r"GatedRepoError|gated repo|Access to model (?P<model>\S{1,80}) is restricted",
        "The model ({model}) is gated, and this account has no access.",
        "Accept its terms on the model's page, then set HF_TOKEN to a token of that account.",
    ),
    Signature(
        Rule(
            "log-model-auth",
            "The hub refuses the token",
            "A token that is wrong, expired or absent: the hub answers 401 or 403.",
            ("Hugging Face documentation: tokens",),
        ),
        Speaker.HUB,
        Severity.ERROR,
        ("401", "403", "invalid user token", "invalid credentials in authorization"),
        r"40[13] (?:Client Error|Unauthorized|Forbidden)[^\n]{0,200}"
        + _HUB
        + r"|Invalid (?:user token|credentials in Authorization)",
        "The model hub refuses the request.",
        "Set HF_TOKEN to a valid token, or download the model where you may and give its folder.",
    ),
    Signature(
        Rule(
            "log-model-missing",
            "The model does not exist",
            "Neither a local folder nor a model of the hub has this name.",
            ("Hugging Face documentation: download",),
        ),
        Speaker.HUB,
        Severity.ERROR,
        (
            "repository not found",
            "repositorynotfounderror",
            "not a valid model identifier",
            "entrynotfounderror",
            "404 client error",
            "repo id must be",
        ),
        r"Repository Not Found|RepositoryNotFoundError|is not a valid model identifier|(?<!Local)EntryNotFoundError"
        r"|404 Client Error[^\n]{0,200}" + _HUB + r"|Repo id must be",
        "There is no model of this name.",
        "Check the spelling, or give the path of a folder that this host has.",
    ),
    Signature(
        Rule(
            "log-model-offline",
            "The hub cannot be reached",
            "The host has no way to the hub, a proxy is missing, or the offline mode is on and the model is not in "
            "the cache.",
            ("SGLang documentation: environment variables",),
        ),
        Speaker.HUB,
        Severity.ERROR,
        (
            "localentrynotfounderror",
            "offlinemodeisenabled",
            "couldn't connect to",
            "huggingface.co",
            "cannot be reached",
            "could not deliver it",
        ),
        r"LocalEntryNotFoundError|OfflineModeIsEnabled|We couldn't connect to '?https?://|"
        + _HUB
        + r"[^\n]{0,200}(?:Max retries exceeded|timed out|TimeoutError|Failed to resolve)"
        r"|(?:ReadTimeout|ConnectTimeout|ConnectionError|Max retries)[^\n]{0,200}"
        + _HUB
        + r"|package index cannot be reached|could not deliver it",
        "The model could not be fetched because the hub was not reached.",
        "Download it elsewhere and give its folder, set SGLANG_USE_MODELSCOPE=true, or unset HF_HUB_OFFLINE.",
    ),
    Signature(
        Rule(
            "log-model-code",
            "The model brings code that is not trusted",
            "Some models need Python code of their own, which runs with the rights of the server.",
            ("Transformers documentation: custom models",),
        ),
        Speaker.HUB,
        Severity.ERROR,
        ("trust_remote_code", "custom code which must be executed"),
        r"contains custom code which must be executed|requires you to execute[^\n]{0,120}code"
        r"|pass the argument .?trust_remote_code=True",
        "The model needs code of its own.",
        "Read that code; if you trust it, add --trust-remote-code on both roles.",
    ),
    Signature(
        Rule(
            "log-model-unsupported",
            "The engine does not know the model's architecture",
            "The installed version of the engine or of Transformers is older than the model.",
            ("sgl-project/sglang documentation: supported models",),
        ),
        Speaker.PYTHON,
        Severity.ERROR,
        (
            "not supported for now",
            "are not supported",
            "does not recognize this architecture",
            "unsupported architectures",
        ),
        r"Model architectures? \[[^\]\n]{1,120}\] (?:are|is) not supported|does not recognize this architecture"
        r"|Unsupported architectures",
        "The engine has no implementation of this model.",
        "Upgrade the engine, or choose a model that it lists.",
    ),
    Signature(
        Rule(
            "log-model-damaged",
            "A weight file is damaged or cut off",
            "A download that ended early, or a copy of Git LFS pointers in place of the files.",
            ("safetensors documentation",),
        ),
        Speaker.PYTHON,
        Severity.ERROR,
        (
            "safetensor",
            "incompletebuffer",
            "headertoolarge",
            "deserializing header",
            "unexpected eof, expected",
            "the file is damaged",
        ),
        r"SafetensorError|MetadataIncompleteBuffer|HeaderTooLarge|Error while deserializing header"
        r"|unexpected EOF, expected|the file is damaged",
        "A weight file cannot be read.",
        "Delete it and fetch it again; compare its size with the hub's.",
    ),
)
