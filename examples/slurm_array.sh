#!/usr/bin/env bash
# An array job over one results folder: every job is given the same command, takes the runs that no other job holds or
# has finished, and goes on with those that were interrupted.  From the repository's root, after `make .venv/installed`:
#
#     sbatch examples/slurm_array.sh
#
#SBATCH --job-name=latents
#SBATCH --array=0-7
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --output=slurm-%A_%a.log
# Before the time is up Slurm sends SIGTERM: the run writes a checkpoint within a step and exits with 143.  What is left
# is done by submitting the same again; a job that is preempted is put back into the queue and goes on by itself.
#SBATCH --signal=B:TERM@120
#SBATCH --requeue

set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-2}"  # the same for all: another number of threads gives other last digits
source .venv/bin/activate
# The data are fetched by one job while the others wait.  exec: the signal reaches Python, not the shell before it.
exec python _main.py --task all --dataset all --seed 0 1 2 --results-dir results
