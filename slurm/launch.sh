#!/bin/bash
# One node's share of a job: `srun slurm/launch.sh FILE.py|-m MODULE ARGUMENTS` starts the node's processes under a
# launcher, or, where the job is one process, without any.
#   PROCESSES_PER_NODE  default: the node's GPUs, or 1 where the job has none
#   ACCELERATE_CONFIG   a file of `accelerate config`, for DeepSpeed and the like; without it, plain data parallelism
#   VENV                the Python environment, default .venv
# A job without GPUs trains on the CPU; ACCELERATE_USE_CPU=0 says that there are GPUs which Slurm does not manage.
# SIGTERM and SIGUSR1 reach the processes as SIGTERM. Exit code: 75 when one of them came and the work was not done.
set -uo pipefail

stopped= work=
stop() {
  [[ $stopped || ! $work ]] || kill -TERM "$work" 2>/dev/null
  stopped=yes
}
trap stop TERM USR1

bin=${VENV:-.venv}/bin
gpus=${SLURM_GPUS_ON_NODE:-0}
nodes=$SLURM_STEP_NUM_NODES
processes=${PROCESSES_PER_NODE:-$((gpus ? gpus : 1))}
head_node=$(scontrol show hostnames "$SLURM_STEP_NODELIST" | head -n 1)
# Another port after every restart: processes of the start before may still be closing theirs.
port=$((20000 + (SLURM_JOB_ID * 7 + ${SLURM_RESTART_COUNT:-0}) % 10000))

export ACCELERATE_USE_CPU=${ACCELERATE_USE_CPU:-$((gpus == 0))}
cpus=${SLURM_CPUS_ON_NODE:-${SLURM_CPUS_PER_TASK:-1}}
if ((gpus && cpus < 2 * processes)); then
  echo "warning: $cpus CPUs for $processes processes with loader workers of their own; submit with --cpus-per-gpu=8" >&2
fi
threads=$((cpus / processes))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads ? threads : 1))}
# The launcher kills what is still there so many seconds after SIGTERM; a large checkpoint takes its time.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-100}

# Not --cpu on CPUs: with it, accelerate starts one process whatever --num_processes says.
launcher=("$bin/python" -m trainer.launch --num_machines "$nodes" --num_processes "$((nodes * processes))"
  --machine_rank "$SLURM_NODEID" --main_process_ip "$head_node" --main_process_port "$port")
if [[ ${ACCELERATE_CONFIG:-} ]]; then
  launcher+=(--config_file "$ACCELERATE_CONFIG" --deepspeed_multinode_launcher standard)
elif ((nodes * processes > 1)); then
  launcher+=(--multi_gpu --mixed_precision no --dynamo_backend no)
else
  launcher=("$bin/python")
fi
if ((SLURM_NODEID == 0)); then
  printf '%(%F %T)T job %s: start %s, %s × %s processes on %s of %s\n' -1 "$SLURM_JOB_ID" \
    "$((${SLURM_RESTART_COUNT:-0} + 1))" "$nodes" "$processes" \
    "$([[ $ACCELERATE_USE_CPU == 1 ]] && echo CPUs || echo GPUs)" \
    "$SLURM_STEP_NODELIST"
fi

# Some clusters signal this shell only, others every process of the step. A launcher bears one SIGTERM, and would die
# of SIGUSR1 and leave its processes behind: so it gets one SIGTERM, from here, and ignores SIGUSR1.
(trap '' USR1 && exec "${launcher[@]}" "$@") &
work=$!
[[ ! $stopped ]] || kill -TERM "$work"
while kill -0 "$work" 2>/dev/null; do # a signal ends `wait` early
  wait "$work"
done
wait "$work"
code=$?
if [[ $stopped ]] && ((code)); then
  exit 75
fi
exit "$code"
