"""The bundled engine's options for a worker on several ranks, and what it would refuse of them.

Pure. The fields and flags are SGLang's (`sglang_arguments`); what follows from them is the bundled engine's own:
which backends there are, that experts are shared out among all ranks or among none, and which sizes fit a model whose
heads are known. Called by `bundled`; `panel.runs` asks the last question again with a model on disk.
"""

from __future__ import annotations

from pathlib import Path

from ...engine.errors import ConfigError
from ...engine.parallel.layout import ParallelSizes, check_sizes
from ..deployment import Deployment
from ..deployment_parts import RoleSpec
from ..launch import Role
from ..model_heads import ModelHeads, heads_of_model, heads_on_disk
from ..planning.gpu_count import gpus_of_process
from ..planning.hosts import is_loopback
from .placement import Placed, Placement, flag, url
from .sglang_arguments import parallel_arguments
from .sglang_flags import check_flags
from .sglang_version import attention_ranks

__all__ = [
    "ENCODER_TRANSFERS",
    "check_fit",
    "check_on_disk",
    "check_parallel",
    "encoder_side",
    "machines_of",
    "meeting_side",
    "parallel_side",
    "ranks_of",
    "sizes_of",
]

A2A = ("none", "gloo", "mooncake")
ELASTIC = ("gloo", "mooncake")
ENCODER_TRANSFERS = ("zmq_to_scheduler", "mooncake")
_ROLES = (Role.PREFILL, Role.DECODE, Role.UNIFIED, Role.ENCODER)
_LANGUAGE_ROLES = (Role.PREFILL, Role.DECODE, Role.UNIFIED)
# What the engine waits by itself, and how long before a start is given up a missing node is named.
_MEETING_S, _NAMED_BEFORE_S = 60.0, 30.0


def ranks_of(placed: Placed) -> int:
    """Returns how many ranks of its worker a process starts on its node."""
    return gpus_of_process(placed.settings)


def machines_of(placement: Placement, *roles: Role) -> set[str]:
    """Returns the addresses of the machines that these roles are on; all of loopback are one."""
    addresses = (placed.address for role in roles for placed in placement.of_role(role))
    return {"localhost" if is_loopback(address) else address for address in addresses}


def sizes_of(settings: RoleSpec) -> ParallelSizes:
    """Returns how a role's workers are spread, with experts shared out where something asks for that."""
    shared_out = settings.moe_a2a not in (None, "none") or settings.elastic_ep is not None
    tp = settings.tp or 1
    return ParallelSizes(tp, attention_ranks(settings), settings.ep or (tp if shared_out else 1))


def check_parallel(placement: Placement) -> None:
    """Raises ConfigError for what the engine would refuse of sizes, backends, nodes and encoders."""
    deployment = placement.deployment
    for role in _ROLES:
        settings = deployment.settings(role.value)
        if not settings.count:
            continue
        check_flags(settings, role.value)
        parallel_arguments(settings, role.value)
        _check_dp(deployment, settings, role)
        _check_experts(deployment, settings, role)
        _check_encoder(deployment, settings, role)
        _check_nodes(placement, role)
    check_fit(deployment, heads_of_model(deployment.model))


def check_fit(deployment: Deployment, model: ModelHeads | None) -> None:
    """Raises ConfigError where the model cannot be spread as a role asks, with the sizes that would do.

    Args:
        deployment: what is wanted.
        model: its heads and experts; None where they are not known, which is left to the start.
    """
    if model is None:
        return
    for role in _ROLES:
        settings = deployment.settings(role.value)
        if not settings.count:
            continue
        if role is Role.ENCODER:
            if not model.sees:
                remedy = "set encoder.count to 0, or name a model that sees"
                raise ConfigError("model", deployment.model, "has no vision tower that an encoder could run", remedy)
            continue
        try:
            check_sizes(model.shape, sizes_of(settings), model.experts)
        except ConfigError as error:
            raise _as_field(deployment, settings, role, error) from None


def check_on_disk(deployment: Deployment, cache_dir: Path) -> None:
    """Does what `check_fit` does, with what this host has of the model.

    Args:
        cache_dir: of downloads and conversions.
    """
    if deployment.engine == "bundled":
        check_fit(deployment, heads_on_disk(deployment.model, cache_dir))


def _as_field(deployment: Deployment, settings: RoleSpec, role: Role, error: ConfigError) -> ConfigError:
    """Returns an error about flags as one about the fields that set them."""
    attention = "attn_dp" if settings.attn_dp is not None else "dp"
    names = {"--tp-size": "tp", "--attn-dp-size": attention, "--ep-size": "ep"}
    problem, remedy = error.problem, error.remedy
    for flag_name, name in names.items():
        problem, remedy = problem.replace(flag_name, name), remedy.replace(flag_name, name)
    field = names[error.field]
    return ConfigError(_where(deployment, role, field), error.value, problem, remedy)


def _where(deployment: Deployment, role: Role, field: str) -> str:
    """Returns the field's dotted name: the role's own, or that of all workers."""
    own = getattr(deployment, role.value)
    return f"{role.value if getattr(own, field) is not None else 'workers'}.{field}"


def _check_dp(deployment: Deployment, settings: RoleSpec, role: Role) -> None:
    if (settings.dp or 1) > 1 and not settings.dp_attention:
        problem = "asks for whole copies of the model in one worker, which the bundled engine has as workers"
        remedy = f"set {role.value}.count, or add dp_attention: true to spread attention over tp's ranks"
        raise ConfigError(_where(deployment, role, "dp"), settings.dp, problem, remedy)


def _check_experts(deployment: Deployment, settings: RoleSpec, role: Role) -> None:
    sizes = sizes_of(settings)
    for field, given, known in (("moe_a2a", settings.moe_a2a, A2A), ("elastic_ep", settings.elastic_ep, ELASTIC)):
        if given is None:
            continue
        place = _where(deployment, role, field)
        if given not in known:
            raise ConfigError(place, given, "is none of the bundled engine's backends", f"write {' or '.join(known)}")
        if given != "none" and sizes.tp == 1:
            problem = "sends experts' tokens between ranks, and the worker has one"
            raise ConfigError(place, given, problem, f"set {role.value}.tp to 2 or more, or leave it out")
    if sizes.ep not in (1, sizes.tp):
        problem = f"is neither 1 nor tp {sizes.tp}: experts are shared out among all ranks or none"
        raise ConfigError(_where(deployment, role, "ep"), sizes.ep, problem, f"write 1 or {sizes.tp}")
    if settings.elastic_ep is not None:
        _check_elastic(deployment, settings, role)
    named = next((name for name in ("moe_a2a", "elastic_ep") if getattr(settings, name) not in (None, "none")), None)
    if named is not None and sizes.ep == 1:
        problem = f"leaves every expert on every rank, where {named} {getattr(settings, named)} sends tokens to experts"
        raise ConfigError(_where(deployment, role, "ep"), 1, problem, f"write {sizes.tp}, or leave {named} out")


def _check_elastic(deployment: Deployment, settings: RoleSpec, role: Role) -> None:
    """Ranks go on without one of them in a worker of one node and one attention group; others are started again."""
    others = {"over several nodes": settings.nodes > 1, "with DP attention": attention_ranks(settings) > 1}
    against = [words for words, there in others.items() if there]
    if against:
        problem = f"is of workers on one node with one attention group, and this one is {' and '.join(against)}"
        place = _where(deployment, role, "elastic_ep")
        raise ConfigError(place, settings.elastic_ep, problem, "leave it out: the worker is started again then")


def _check_encoder(deployment: Deployment, settings: RoleSpec, role: Role) -> None:
    field, transfer = f"{role.value}.encoder_transfer", settings.encoder_transfer
    if transfer is not None and transfer not in ENCODER_TRANSFERS:
        problem = "is none of the bundled engine's ways from an encoder"
        raise ConfigError(field, transfer, problem, f"write {' or '.join(ENCODER_TRANSFERS)}")
    if transfer is not None and not deployment.encoder.count:
        raise ConfigError(field, transfer, "has no encoders to take images from", "set encoder.count")
    if role is Role.ENCODER and (settings.tp or 1) > 1:
        remedy = "leave it out, and set encoder.count for more encoders"
        raise ConfigError(_where(deployment, role, "tp"), settings.tp, "spreads an encoder, which has one rank", remedy)
    if role is Role.ENCODER and settings.nodes > 1:
        raise ConfigError("encoder.nodes", settings.nodes, "spreads an encoder, which has one rank", "write 1")


def _check_nodes(placement: Placement, role: Role) -> None:
    """Nodes of one worker listen on the same ports, so that each needs an address of its own."""
    seen: dict[tuple[int, str], str] = {}
    for placed in placement.of_role(role):
        other = seen.setdefault((placed.index, placed.address), placed.node)
        if other != placed.node:
            problem = f"is the address of {other}, too, and both are nodes of {role.value}-{placed.index}"
            remedy = "give each node an address of its own, on one host such as 127.0.0.1 and 127.0.0.2"
            raise ConfigError(f"hosts.{placed.node}.address", placed.address, problem, remedy)


def parallel_side(placed: Placed) -> list[str]:
    """Returns the options of a worker's ranks and experts."""
    settings, sizes = placed.settings, sizes_of(placed.settings)
    if placed.role is Role.ENCODER:
        return []
    arguments = [*parallel_arguments(settings, placed.role.value)]
    if settings.ep is None and sizes.ep > 1:
        arguments += flag("ep-size", sizes.ep)
    if settings.moe_a2a is not None:
        arguments += flag("moe-a2a-backend", settings.moe_a2a)
    if settings.elastic_ep is not None:
        arguments += flag("elastic-ep-backend", settings.elastic_ep)
    return arguments


def meeting_side(placement: Placement, placed: Placed, patience_s: float) -> list[str]:
    """Returns how long the nodes of a worker wait for one another, where they are machines of their own.

    They are started by hand, and each may have to fetch the model first: almost as long as whoever starts them waits
    for the worker, so that a node that does not come is named before that ends.

    Args:
        patience_s: of who starts them.
    """
    nodes = [each.address for each in placement.of_role(placed.role) if each.index == placed.index]
    together = all(is_loopback(address) for address in nodes)
    wait_s = patience_s - _NAMED_BEFORE_S
    if len(nodes) < 2 or together or wait_s <= _MEETING_S or "dist-timeout" in placed.settings.flags:
        return []
    return [*flag("dist-timeout", f"{wait_s:g}")]


def encoder_side(placement: Placement, placed: Placed) -> list[str]:
    """Returns what makes a worker an encoder, or one that asks the deployment's encoders."""
    deployment = placement.deployment
    if not deployment.encoder.count:
        return []
    own = deployment.settings("encoder").encoder_transfer
    transfer = placed.settings.encoder_transfer or own
    way = [] if transfer is None else [*flag("encoder-transfer-backend", transfer)]
    if placed.role is Role.ENCODER:
        # What carries embeddings by a transfer engine is what carries KV.
        backend = flag("disaggregation-transfer-backend", deployment.transport) if transfer == "mooncake" else ()
        return ["--encoder-only", *way, *backend]
    if placed.role not in _LANGUAGE_ROLES:
        return []
    # Decode computes prompts again after it had to make room, so it asks encoders, too.
    encoders = placement.first_ranks(Role.ENCODER)
    return [*way, "--language-only", "--encoder-urls", *(url(one.address, one.port) for one in encoders)]
