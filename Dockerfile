# The platform with all its commands. docker-compose.yml runs three of them side by side.
FROM python:3.12-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home learner \
    && install -d -o learner /bottega /workspace

USER learner
WORKDIR /bottega
COPY --chown=learner . .

# The address of PyTorch's CPU wheel index (see README): keeps gigabytes of CUDA out of the image.
ARG TORCH_INDEX=
RUN PIP_NO_CACHE_DIR=1 make install TORCH_INDEX="$TORCH_INDEX"

ENV PATH=/bottega/.venv/bin:$PATH \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    BOTTEGA_WORKSPACE=/workspace \
    MLFLOW_DISABLE_TELEMETRY=true \
    DO_NOT_TRACK=1 \
    STREAMLIT_BROWSER_GATHER_USAGE_STATS=false

VOLUME /workspace
CMD ["bottega", "--help"]
