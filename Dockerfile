# The challenge's image. It is started once per case, as
#   docker run --gpus device=0 -v DIR/inputs:/workspace/inputs -v DIR/outputs:/workspace/outputs IMAGE [/bin/bash -c "sh predict.sh"]
# so there is no ENTRYPOINT that could swallow the command, and predict.sh lies in WORKDIR.
#
# docs/container.md says how the variants for GPU and CPU are built; scripts/image builds and measures them.
ARG BASE_IMAGE=python:3.11.14-slim-bookworm

# An environment without pip: pip lives in another one, which stays behind in this stage.
FROM ${BASE_IMAGE} AS environment
WORKDIR /build
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/flare
COPY requirements.txt constraints.txt ./
COPY requirements-serve.txt ./

# EXTRAS: further requirements, e.g. "torch==2.13.0+cpu"; PIP_EXTRA_INDEX_URL: read by pip, where such a build is found.
# A pip.conf given as the build's secret "pip" (for a mirror) is there for this instruction only.
# SERVE: "requirements-serve.txt" for an image that also runs the service; the challenge's has no room for it.
ARG EXTRAS=""
ARG SERVE=""
ARG PIP_EXTRA_INDEX_URL
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip="tools/bin/python3 -m pip --disable-pip-version-check" \
    && options="--no-cache-dir --no-compile --only-binary=:all: --root-user-action=ignore -c constraints.txt" \
    && $pip --python /opt/flare/bin/python3 install $options -r requirements.txt ${SERVE:+-r $SERVE} $EXTRAS \
    && $pip install $options cyclonedx-bom \
    && tools/bin/cyclonedx-py environment --output-reproducible --of JSON -o sbom.cdx.json /opt/flare/bin/python3

# After the list of packages, which it does not change: only files that a run never reads.
COPY scripts/trim_environment.py ./
RUN python3 trim_environment.py /opt/flare

FROM ${BASE_IMAGE}
WORKDIR /workspace

# Before the code, so that a change of the code does not touch this layer.
COPY --from=environment /opt/flare /opt/flare
COPY --from=environment /build/sbom.cdx.json ./

# HOME: the user at run time may be any, without a home. PATH in full: a base made by hand may have none to extend.
ENV PATH=/opt/flare/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

COPY LICENSE README.md predict.sh ./
COPY weights/ weights/
COPY flare_infer/ flare_infer/
COPY flare_serve/ flare_serve/
COPY serve.sh /usr/local/bin/serve

# One small CT is segmented: an image that cannot is never made. What the run imports is thereby compiled (at run time
# no user may write beside it, and the time of a cold start counts), and nothing else is. Then all files are readable for
# every user, whatever the umask of the checkout was; only those that are not are changed: a layer keeps a copy of each.
RUN mkdir -p inputs outputs /tmp/check/inputs \
    && python3 -c "import SimpleITK as s; s.WriteImage(s.Image(32, 32, 32, s.sitkInt16) - 1000, '/tmp/check/inputs/a_0000.nii.gz')" \
    && FLARE_INPUTS=/tmp/check/inputs FLARE_OUTPUTS=/tmp/check/outputs sh predict.sh \
    && rm -r /tmp/check \
    && find . /usr/local/bin/serve \( -type d ! -perm -a+rx -o -type f ! -perm -a+r \) -exec chmod a+rX {} +

# Last, so that they cost no layer above. SOURCE: where this checkout comes from (git remote get-url origin).
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="flare-infer" \
      org.opencontainers.image.description="Abdominal organs and tumors from CT (MICCAI FLARE 2023)" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0 AND LicenseRef-flare-weights" \
      org.opencontainers.image.source="${SOURCE}"

CMD ["sh", "predict.sh"]
