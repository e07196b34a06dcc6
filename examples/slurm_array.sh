#!/usr/bin/env bash
# An array job over one results folder.  Every job gets the same command.  It takes the runs that no other job holds or
# has finished, and resumes interrupted ones.  From the repository's root, after `make .venv/installed`:
#
#     sbatch examples/slurm_array.sh
#
#SBATCH --job-name=latents
#SBATCH --array=0-7
#SBATCH --cpus-per-task=2
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --output=slurm-%A_%a.log
#SBATCH --open-mode=append
# Slurm sends SIGTERM before the time is up.  The run then writes a checkpoint after its current step and exits (143).
# Submit it again to finish what is left.  A preempted job is requeued and resumes by itself.
#SBATCH --signal=B:TERM@120
#SBATCH --requeue

set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-2}"  # the same for all jobs: it changes the last digits of results
source .venv/bin/activate
# One job downloads the data while the others wait.  exec: the signal reaches Python, not the shell that started it.
exec python _main.py --task all --dataset all --seed 0 1 2 --results-dir cluster
