# syntax=docker/dockerfile:1
# One image for every worker: `docker run qmosaic worker --stages encode`.
FROM python:3.12-slim-bookworm AS build
RUN python -m venv /opt/qmosaic
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/qmosaic/bin/pip install --disable-pip-version-check -c constraints.txt '.[backends]'

FROM python:3.12-slim-bookworm
RUN useradd --create-home --uid 10001 qmosaic
COPY --from=build /opt/qmosaic /opt/qmosaic
ENV PATH=/opt/qmosaic/bin:$PATH PYTHONUNBUFFERED=1
USER qmosaic
WORKDIR /home/qmosaic
ENTRYPOINT ["qmosaic"]
CMD ["--help"]
