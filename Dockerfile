# One image for every role; the command says which: docker-compose.yml shows all of them.

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
WORKDIR /build
COPY pyproject.toml constraints.txt README.md ./
COPY modelport ./modelport
ARG EXTRAS=server,local,sagemaker,databricks,azureml,kserve
RUN /opt/venv/bin/pip install --constraint constraints.txt ".[${EXTRAS}]"

FROM python:3.13-slim AS service
RUN groupadd --gid 10001 modelport \
    && useradd --uid 10001 --gid modelport --home-dir /var/lib/modelport --create-home --shell /usr/sbin/nologin modelport \
    && install --directory --owner=modelport --group=modelport /var/lib/flower
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/srv/modelport \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    MODELPORT_FOLDER=/var/lib/modelport
WORKDIR /srv/modelport
COPY --from=build /opt/venv /opt/venv
COPY operations ./operations
COPY api ./api
COPY worker ./worker
COPY adapters ./adapters
USER modelport
EXPOSE 8000 5555
CMD ["python", "-m", "api"]
