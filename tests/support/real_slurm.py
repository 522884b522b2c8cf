"""A real Slurm on loopback: its own munge, controller and three nodes, started and stopped by a test."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from spare_ports import spare_ports

NODES = ("n1", "n2", "n3")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol", "squeue")
# Slurm itself takes a second or two, and a busy machine much longer.
PATIENCE_S = 120.0


def find(program: str) -> str:
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") or ""


@dataclass
class Slurm:
    """A cluster of nodes n1 to n3, all of them this host."""

    folder: Path
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self) -> None:
        munge = self.folder / "munge"
        munge.mkdir(mode=0o711)
        (munge / "key").write_bytes(os.urandom(1024))
        (munge / "key").chmod(0o400)
        places = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self.spawn("munged", "--foreground", *(f"--{option}={munge / name}" for option, name in places.items()))
        self.wait(lambda: (munge / "socket").exists(), "munged makes no socket")
        (self.folder / "state").mkdir()
        (self.folder / "slurm.conf").write_text(self.configuration())
        conf = str(self.folder / "slurm.conf")
        self.spawn("slurmctld", "-D", "-f", conf)
        for node in NODES:
            (self.folder / f"spool-{node}").mkdir()
            self.spawn("slurmd", "-D", "-N", node, "-f", conf)
        self.wait(lambda: self.idle() == len(NODES), "the nodes do not become idle")

    def configuration(self) -> str:
        host = socket.gethostname().partition(".")[0]
        ports = spare_ports(1 + len(NODES))
        lines = [
            "ClusterName=test",
            f"SlurmctldHost={host}(127.0.0.1)",
            f"SlurmctldPort={ports[0]}",
            "SlurmUser=root",
            "SlurmdUser=root",
            "AuthType=auth/munge",
            f"AuthInfo=socket={self.folder}/munge/socket",
            "ProctrackType=proctrack/pgid",
            "TaskPlugin=task/none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_CPU",
            "SlurmdParameters=config_overrides",
            "ReturnToService=2",
            "MpiDefault=none",
            f"StateSaveLocation={self.folder}/state",
            f"SlurmdSpoolDir={self.folder}/spool-%n",
            f"SlurmctldPidFile={self.folder}/slurmctld.pid",
            f"SlurmdPidFile={self.folder}/%n.pid",
            f"SlurmctldLogFile={self.folder}/slurmctld.log",
            f"SlurmdLogFile={self.folder}/%n.log",
            *(
                f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2"
                for node, port in zip(NODES, ports[1:], strict=True)
            ),
            "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP",
        ]
        return "\n".join(lines) + "\n"

    def spawn(self, program: str, *arguments: str) -> None:
        with (self.folder / "daemons.log").open("ab") as log:
            # A daemon ends with the test run also when that is killed.
            tied = [setpriv, "--pdeathsig", "TERM"] if (setpriv := find("setpriv")) else []
            command = [*tied, find(program), *arguments]
            self.daemons.append(
                subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment)
            )

    def call(self, *command: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
        done = subprocess.run(
            [find(command[0]), *command[1:]],
            env={**self.environment, **(env or {})},
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout.strip()

    def idle(self) -> int:
        try:
            states = self.call("sinfo", "--noheader", "--Node", "--format=%t").split()
        except AssertionError:
            return 0
        return states.count("idle")

    def submit(self, folder: Path, script: str, **env: str) -> str:
        """Returns the number of the job."""
        return self.call("sbatch", "--parsable", f"./{script}", cwd=folder, env=env)

    def show(self, job: str) -> dict[str, str]:
        """Returns what Slurm says of a job, by field."""
        words = self.call("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def running(self) -> list[str]:
        return self.call("squeue", "--noheader", "--format=%i").split()

    def wait(self, condition: Callable[[], bool], problem: str, seconds: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            ended = [daemon.args for daemon in self.daemons if daemon.poll() is not None]
            if ended or time.monotonic() > deadline:
                logs = [path for path in (*self.folder.glob("*.log"), *self.folder.glob("munge/log"))]
                tails = {path.name: path.read_text(errors="replace")[-1500:] for path in logs}
                raise AssertionError(f"{problem}; ended: {ended}; {json.dumps(tails, indent=1)}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Ends jobs, then nodes, controller and munge, each by its own process, and what is left of jobs."""
        if len(self.daemons) == 2 + len(NODES):
            with contextlib.suppress(AssertionError):
                for job in self.running():
                    self.call("scancel", job)
                self.wait(lambda: not self.running(), "a job does not end")
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(60)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait(60)
        # Whatever runs for a job has the variable that named this cluster to it.
        conf = self.environment["SLURM_CONF"]
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("SLURM_CONF") == conf:
                    process.kill()
