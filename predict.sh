#!/bin/sh
# The challenge's entry point: segment every CT of the inputs folder into the outputs folder. In the image the two are
# /workspace/inputs and /workspace/outputs; elsewhere FLARE_INPUTS and FLARE_OUTPUTS name them, as absolute paths.
cd -- "$(dirname -- "$0")" || exit 1
exec python3 -m flare_infer predict "${FLARE_INPUTS:-/workspace/inputs}" "${FLARE_OUTPUTS:-/workspace/outputs}"
