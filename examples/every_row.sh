#!/usr/bin/env bash
# Makes every row of the report's tables again, in again/: estimated at ten minutes on a large GPU and at days on two
# cores.  Arguments go to every run, such as --device cuda.  An interrupted run resumes; a command of several runs skips
# those that have a complete record, and a command of one run makes another record next to it.
set -euo pipefail
run() { python _main.py --results-dir again "$@"; }
for dataset in mnist cifar10; do
    for task in control 1.2.1 1.2.2 1.2.3; do run --task $task --dataset $dataset --seed 0 1 2 "$@"; done
    run --task 1.2.1 --dataset $dataset --method augmented patches --seed 0 1 2 "$@"
    run --task 1.2.3 --dataset $dataset --method dcl cmc --seed 0 1 2 "$@"
    run --task 1.2.1 --dataset $dataset --method denoising masked "$@"
    run --task 1.2.3 --dataset $dataset --method vicreg byol moco "$@"
    run --task rotation --dataset $dataset "$@"
    start="--init again/1.2.3_${dataset}_simclr_seed0.json --epochs 0"
    for labels in 0.01 0.1 0.5; do
        run --task 1.2.2 --dataset $dataset --labels $labels "$@"
        run --task control --dataset $dataset --method random --labels $labels "$@"
        run --task 1.2.3 --dataset $dataset $start --labels $labels "$@"
        run --task 1.2.3 --dataset $dataset $start --labels $labels --finetune "$@"
    done
    run --task 1.2.3 --dataset $dataset $start --finetune "$@"
done
run --task 1.2.1 --dataset mnist --init again/1.2.3_mnist_simclr_seed0.json --epochs 4 "$@"
for encoder in mlp vit conv; do run --task 1.2.3 --dataset mnist --encoder $encoder --subset 5000 "$@"; done
