#!/bin/sh
# The service of an image that was built with it (docs/service.md): docker run -p 127.0.0.1:8000:8000 IMAGE serve.
# Within a container every client comes from outside, so there is always a token: that of FLARE_TOKEN_FILE, or a new one,
# which the printed address holds.
cd /workspace || exit 1
[ -n "$FLARE_TOKEN_FILE" ] || set -- --new-token "$@"
exec python3 -m flare_serve serve --address 0.0.0.0 "$@"
