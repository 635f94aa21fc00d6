"""A real Slurm of two nodes on this machine, in a network, mount and process namespace of its own."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

PROGRAMS = ("unshare", "nsenter", "ip", "munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue")
NODES, CPUS = 2, 2

SLURM_CONF = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=17000
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that is requeued may start when its old credential is over.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,sched_min_interval=0
SlurmctldParameters=preempt_send_user_signal
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=3
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n[1-{nodes}] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[17001-{last_port}] CPUs={cpus} State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES PriorityTier=10 GraceTime=60 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=100 PreemptMode=OFF State=UP
"""

START = """\
set -e
ip link set lo up
ip addr add 127.0.0.2/8 dev lo # without a second address, look-ups of names fail
mount --bind "$FOLDER/hosts" /etc/hosts
munged --foreground --force --socket="$FOLDER/munge.socket" --key-file="$FOLDER/munge/key" \\
  --pid-file="$FOLDER/munged.pid" --log-file="$FOLDER/munge/munged.log" --seed-file="$FOLDER/munge/seed" &
until [ -S "$FOLDER/munge.socket" ]; do kill -0 $!; sleep 0.05; done
slurmctld -D &
for node in $NODES; do slurmd -D -N $node & done
wait -n # one that ends, ends all
"""


def missing() -> str | None:
    """Why no cluster can be started here, in a line; None where one can."""
    if absent := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"{', '.join(absent)} not installed (apt-get install --no-install-recommends slurm-wlm munge iproute2)"
    if os.geteuid() != 0:
        return "a cluster in a namespace of its own needs root"
    done = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, text=True)
    return f"no namespaces here: {done.stderr.strip()}" if done.returncode else None


class Cluster:
    """Runs Slurm's commands within the cluster's namespaces."""

    def __init__(self, folder: Path, init: int) -> None:
        self.folder = folder
        self.inside = ["nsenter", "--target", str(init), "--net", "--mount", "--pid"]

    def run(self, *command: str | Path, **environment: str) -> str:
        """The command's output. Raises CalledProcessError, after printing what it said, when it fails."""
        done = subprocess.run(
            [*self.inside, f"--wd={Path.cwd()}", *command],
            env={**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            print(done.stdout, done.stderr)
        done.check_returncode()
        return done.stdout.strip()

    def submit(self, *arguments: str | Path, **environment: str) -> str:
        """Submits a batch job; returns its number."""
        return self.run("sbatch", "--parsable", *arguments, **environment)

    def job(self, number: str) -> dict[str, str]:
        """What Slurm knows of a job (of an array's last task, for an array): JobState, Restarts, ExitCode, …"""
        words = self.run("scontrol", "show", "job", "--oneliner", number).splitlines()[-1].split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def states(self, number: str) -> set[str]:
        """The states of a job, or of an array's tasks."""
        told = self.run("squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={number}")
        return set(told.split())

    def wait_until(self, number: str, *states: str, seconds: float = 240) -> None:
        """Returns when the job, or every task of the array, is in one of the states. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while not (found := self.states(number)) or not found <= set(states):
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {number} is {found} and not {states} after {seconds:g} s")
            time.sleep(0.2)


@contextmanager
def started(folder: Path) -> Iterator[Cluster]:
    """A running cluster whose nodes are idle; nothing of it runs afterwards."""
    (folder / "munge").mkdir(parents=True, mode=0o700)
    (folder / "state").mkdir()
    (folder / "munge" / "key").touch(mode=0o600)
    (folder / "munge" / "key").write_bytes(os.urandom(128))
    names = [f"n{number + 1}" for number in range(NODES)]
    (folder / "hosts").write_text(f"127.0.0.1 localhost {socket.gethostname()} {' '.join(names)}\n")
    settings = SLURM_CONF.format(folder=folder, nodes=NODES, last_port=17000 + NODES, cpus=CPUS)
    (folder / "slurm.conf").write_text(settings)
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
    environment = {
        **os.environ,
        "FOLDER": str(folder),
        "NODES": " ".join(names),
        "SLURM_CONF": str(folder / "slurm.conf"),
    }
    namespaces = ["unshare", "--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"]
    with (folder / "daemons.log").open("w") as log:
        process = subprocess.Popen([*namespaces, "bash", "-c", START], env=environment, stdout=log, stderr=log)
    try:
        yield _when_idle(folder, process)
    finally:
        process.kill()  # --kill-child: the first process of the namespace ends, and with it all others
        process.wait()


def _when_idle(folder: Path, process: "subprocess.Popen[bytes]") -> Cluster:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)
        if children := psutil.Process(process.pid).children():
            cluster = Cluster(folder, children[0].pid)
            try:
                idle = cluster.run("sinfo", "--noheader", "--Node", "--partition=debug", "--states=idle", "--format=%N")
            except subprocess.CalledProcessError:
                continue
            if len(idle.split()) == NODES:
                return cluster
    logs = [f"{file.name}:\n{file.read_text()[-2000:]}" for file in sorted(folder.glob("*.log"))]
    raise RuntimeError("Slurm did not start\n" + "\n".join(logs))
