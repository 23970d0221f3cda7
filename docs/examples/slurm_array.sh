#!/bin/bash
# Segment a collection on a cluster with Slurm: sbatch slurm_array.sh CTS LABELS [OPTIONS of flare-infer predict]
#
# Each job takes cases that no other has claimed; a job that dies is made good by the others. The number of jobs may be
# changed at any time, and the same command again does only what is missing.
#SBATCH --job-name=flare
#SBATCH --array=0-15
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --requeue
set -eu
exec flare-infer predict "$@" --share
