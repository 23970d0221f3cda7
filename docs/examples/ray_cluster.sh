#!/bin/bash
# Segment a collection with Ray on machines that Slurm gives: sbatch ray_cluster.sh CTS LABELS [OPTIONS of predict]
#
# The first machine has Ray's head, the others join it; all see the same folders. A machine that is lost is made good by
# the others, and the same command again does only what is missing. Needs the extra `ray`, and a home
# folder that all machines see, where Ray keeps the token with which they know each other.
#SBATCH --job-name=flare
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=32G
#SBATCH --time=08:00:00
set -eu
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token
ray get-auth-token --generate >/dev/null
port=$((20000 + ${SLURM_JOB_ID:-$$} % 20000))
ip=$(hostname -I | cut -d ' ' -f 1)
address="$ip:$port"
# Messages are paths and results of a few kilobytes: the least that Ray takes is enough.
start="ray start --block --disable-usage-stats --num-cpus=${SLURM_CPUS_PER_TASK:-$(nproc)} --object-store-memory=80000000"
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT

$start --head --node-ip-address="$ip" --port="$port" --include-dashboard=false &
until ray status --address "$address" >/dev/null 2>&1; do
    kill -0 $! # the head has ended: so does this script
    sleep 2
done
others=$((${SLURM_JOB_NUM_NODES:-1} - 1))
if [ "$others" -gt 0 ]; then
    srun --nodes="$others" --ntasks="$others" --exclude="$(hostname)" $start --address="$address" &
fi
flare-infer predict "$@" --ray "$address"
