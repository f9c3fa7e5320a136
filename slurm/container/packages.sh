#!/bin/sh
# What samed needs to run, for the images of Dockerfile and samed.def (Debian 12). Ends with 0, or with apt-get's code.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends openmpi-bin libopenmpi3 libdnnl2 libisal2 libzstd1 libcjson1 libssl3 libpng16-16 \
    libnifti2-2 libznz3 libgomp1
rm -rf /var/lib/apt/lists/*
