"""What a person wants: the Deployment, the only input of the panel, and the YAML file that holds it.

Knows nothing of ports that are free, of commands or of processes: `panel.plan` turns a Deployment into a
LaunchPlan. Every mistake in a file or a form becomes one ConfigError that names the field, the value and the
fix.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from ..engine.errors import ConfigError
from . import deployment_rules as rules
from .deployment_errors import to_config_error
from .deployment_parts import (
    MAX_COUNT,
    AscendSpec,
    Env,
    Flag,
    HostSpec,
    LimitsSpec,
    MetadataSpec,
    NicChoice,
    NixlSpec,
    Part,
    Port,
    RoleSpec,
    RouterSpec,
    RunSpec,
    SlurmSpec,
    SmokeTestSpec,
    StoreSpec,
    Text,
    WorkerSpec,
)
from .deployment_yaml import YAML_REMEDY, read_yaml
from .doctor.source_file import open_source

__all__ = [
    "MAX_COUNT",
    "Deployment",
    "DialectName",
    "Flag",
    "RoleSpec",
    "RouterSpec",
    "Transport",
    "dump_deployment",
    "load_deployment",
    "parse_deployment",
    "parse_deployment_text",
]

_MAX_FILE_BYTES = 1 << 20
Transport = Literal["mooncake", "mooncake_tcp", "nixl", "ascend", "mori", "shm", "tcp"]
DialectName = Literal["bundled", "sglang", "sglang-legacy", "vllm", "vllm-v0", "vllm-ascend", "rocm-mad"]
_ROLES = ("prefill", "decode", "unified", "encoder")


class Deployment(Part):
    """What a person wants to have served, and how it is split over roles.

    Either `unified` has workers and the other roles have none, or `prefill` and `decode` have at least one each, with
    or without encoders.

    Attributes:
        engine: whose commands these are.
        engine_version: the version that runs, such as 0.5.23; empty is today's.
        dialect: None is what engine and version say.
        model: a folder, a .gguf file, a name of the catalogue or a Hub id.
        served_model_name: the name that clients see; empty leaves it to the engine.
        workers: what is set of all workers.
        transport: what carries the KV cache from prefill to decode.
        nics: the RDMA devices that carry it.
        host: where workers and router listen, when no role names hosts.
        hosts: what is known of the hosts that roles name.
        gpu_selection: how a worker learns which GPUs are its own; None is the dialect's way. "none" leaves that to
            whoever starts it, such as a container's own GPUs.
        rpc_ports: the band of Mooncake's RPC ports, which listen on all addresses; "auto" is a narrow one, None is
            Mooncake's own.
        nvlink: True carries KV over NVLink between nodes (NVL72).
        modelscope: True fetches models from ModelScope.
        restart: whether a process that was ready and ends by itself is started again.
        observe: True turns on the metrics that the Observe view needs.
        env: variables for all processes, added to the panel's own environment.
    """

    version: Literal[1] = 1
    name: Annotated[str, AfterValidator(rules.usable_name)] = "pd"
    engine: Literal["bundled", "sglang", "vllm"] = "bundled"
    engine_version: Annotated[Text, BeforeValidator(rules.version_text)] = ""
    dialect: DialectName | None = None
    model: Annotated[Text, AfterValidator(rules.usable_model)]
    served_model_name: Text = ""
    workers: WorkerSpec = WorkerSpec()
    prefill: RoleSpec = RoleSpec()
    decode: RoleSpec = RoleSpec()
    unified: RoleSpec = RoleSpec()
    encoder: RoleSpec = RoleSpec()
    transport: Transport = "mooncake"
    nics: NicChoice = "auto"
    host: Annotated[str, AfterValidator(rules.reachable_host)] = "127.0.0.1"
    hosts: dict[Annotated[str, AfterValidator(rules.host_pattern)], HostSpec] = Field(default_factory=dict)
    gpu_selection: Literal["base-gpu-id", "visible-devices", "uuid", "none"] | None = None
    rpc_ports: Literal["auto"] | tuple[Port, Port] | None = "auto"
    router: RouterSpec = RouterSpec()
    metadata: MetadataSpec | None = None
    store: StoreSpec | None = None
    limits: LimitsSpec = LimitsSpec()
    nixl: NixlSpec = NixlSpec()
    ascend: AscendSpec = AscendSpec()
    slurm: SlurmSpec = SlurmSpec()
    smoke_test: SmokeTestSpec = SmokeTestSpec()
    nvlink: bool = False
    modelscope: bool = False
    restart: Literal["on-failure", "never"] = "on-failure"
    observe: bool = True
    run: RunSpec = RunSpec()
    env: Env = Field(default_factory=dict)

    @model_validator(mode="after")
    def _roles_fit(self) -> Self:
        prefill, decode, unified = self.prefill.count, self.decode.count, self.unified.count
        field, value, problem, remedy = "", 0, "", ""
        if unified and (prefill or decode):
            field, value = "unified.count", unified
            problem = f"cannot stand beside {prefill} prefill and {decode} decode workers"
            remedy = "set prefill.count and decode.count to 0, or unified.count to 0"
        elif not (unified or prefill or decode):
            field = "prefill.count"
            problem = "no role has a worker"
            remedy = "set prefill.count and decode.count to 1 or more, or unified.count to 1 or more"
        elif decode and not prefill:
            field = "prefill.count"
            problem = f"nothing computes prompts for the {decode} decode workers"
            remedy = "set prefill.count to 1 or more, or use unified workers"
        elif prefill and not decode:
            field = "decode.count"
            problem = f"nothing takes over from the {prefill} prefill workers"
            remedy = "set decode.count to 1 or more, or use unified workers"
        if field:
            raise PydanticCustomError(
                "pdpanel", "{problem}", {"field": field, "value": value, "problem": problem, "remedy": remedy}
            )
        return self

    def settings(self, role: str) -> RoleSpec:
        """Returns what holds for the workers of `role`: its own fields, and those of `workers` where it has none.

        Flags and variables are added up; the role's go first.
        """
        assert role in _ROLES
        spec: RoleSpec = getattr(self, role)
        common = self.workers
        fields = {
            name: getattr(common, name)
            for name in WorkerSpec.model_fields
            if name not in {"flags", "env"} and getattr(spec, name) is None
        }
        return spec.model_copy(
            update={**fields, "flags": {**common.flags, **spec.flags}, "env": {**common.env, **spec.env}}
        )


def parse_deployment(fields: Mapping[str, object]) -> Deployment:
    """Returns the Deployment that `fields` describes.

    Raises:
        ConfigError: one sentence about the first field that is wrong.
    """
    try:
        return Deployment.model_validate(dict(fields))
    except ValidationError as error:
        raise to_config_error(error, Deployment) from None


def parse_deployment_text(text: str, source: str = "the deployment") -> Deployment:
    """Returns the Deployment written in the YAML `text`; `source` names it in errors.

    Raises:
        ConfigError: the text is not YAML, or a field is wrong.
    """
    fields = read_yaml(text, source)
    if not isinstance(fields, dict):
        raise ConfigError("deployment", source, "is not a mapping of fields", YAML_REMEDY)
    return parse_deployment({str(key): value for key, value in fields.items()})


def load_deployment(path: Path) -> Deployment:
    """Returns the Deployment in the YAML file at `path`.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or a field is wrong.
    """
    try:
        with open_source(path, "deployment", "name a deployment file") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        if len(data) > _MAX_FILE_BYTES:
            raise ConfigError("deployment", str(path), "is larger than 1 MiB", "name a deployment file")
        text = data.decode("utf-8")
    except OSError as error:
        raise ConfigError("deployment", str(path), error.strerror or "cannot be read", "name a readable file") from None
    except UnicodeDecodeError:
        raise ConfigError("deployment", str(path), "is not UTF-8 text", "name a YAML file") from None
    return parse_deployment_text(text, str(path))


def dump_deployment(deployment: Deployment) -> str:
    """Returns `deployment` as the YAML that `load_deployment` reads back to an equal value, without defaults."""
    head = {name: getattr(deployment, name) for name in ("version", "name", "engine", "model")}
    fields = head | deployment.model_dump(mode="json", exclude_defaults=True)
    for role in _ROLES:
        if role in fields:  # How many and where reads better before what is set of them.
            fields[role] = dict(sorted(fields[role].items(), key=lambda item: item[0] in WorkerSpec.model_fields))
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
