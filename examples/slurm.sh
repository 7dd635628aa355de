#!/bin/bash
# Trains on one or more nodes of a SLURM cluster: sbatch examples/slurm.sh IMAGES OUTPUT
#
# One task per GPU; timm reads SLURM's own variables. A job that is requeued, or submitted again, goes on after the
# last epoch that was completed. With GPUs, timm's train.py can stand in for train_ddp.py (with --resume).
#SBATCH --job-name=regnetz
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=1
#SBATCH --time=00:30:00
#SBATCH --requeue
#SBATCH --open-mode=append
##SBATCH --gpus-per-task=1
set -euo pipefail

export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}

# slurm copies this script to its own folder: the paths are those of the folder in which sbatch was called.
srun --kill-on-bad-exit=1 python examples/train_ddp.py "$1" --output "$2" \
    --config "$(timm-regnet-ds recipes path small_images)" ${DEVICE:+--device "$DEVICE"} \
    --model regnet --model-kwargs depth=4 w0=16 wa=12.0 wm=2.0 group_width=4 block=z stem=cifar \
    --num-classes "${CLASSES:-10}" --epochs "${EPOCHS:-10}"
