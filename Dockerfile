# The challenge's image. It is started once per case, as
#   docker run --gpus device=0 -v DIR/inputs:/workspace/inputs -v DIR/outputs:/workspace/outputs IMAGE [/bin/bash -c "sh predict.sh"]
# so there is no ENTRYPOINT that could swallow the command, and predict.sh lies in WORKDIR.
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE}

WORKDIR /workspace

# Before the code, so that a change of the code does not install PyTorch again.
COPY requirements.txt ./
RUN python3 -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore -r requirements.txt

COPY LICENSE README.md predict.sh ./
COPY weights/ weights/
COPY flare_infer/ flare_infer/

# Compiled here, since the user at run time may be anyone and the time of a cold start counts; readable for anyone,
# whatever the umask of the checkout was.
RUN python3 -m compileall -q flare_infer \
    && mkdir -p inputs outputs \
    && find . \( -type d ! -perm -a+rx -o -type f ! -perm -a+r \) -exec chmod a+rX {} +

ENV PYTHONUNBUFFERED=1 \
    HOME=/tmp

# Last, so that they cost no layer above. SOURCE: where this checkout comes from (git remote get-url origin).
ARG VERSION=0.1.0
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="flare-infer" \
      org.opencontainers.image.description="Abdominal organs and tumors from CT (MICCAI FLARE 2023)" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="${SOURCE}"

CMD ["sh", "predict.sh"]
