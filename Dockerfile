# Tallyflow's images: docker build --target STAGE .
# The packages, which rarely change, come before the code, which often does.

# All of Airflow's components, and the local cloud.
FROM apache/airflow:3.3.2-python3.11 AS airflow
USER root
# A new volume takes its owner from the folder it is mounted on.
RUN install --directory --owner=airflow --group=0 /cloud
USER airflow
WORKDIR /opt/tallyflow
COPY requirements.txt .
# All of them, in these versions, whatever the base image brings.
RUN pip install --no-cache-dir --no-deps --requirement requirements.txt
COPY pyproject.toml .
COPY local_cloud local_cloud
COPY demo demo
COPY tests tests
COPY plugins plugins
COPY dags dags
COPY beam_jobs beam_jobs
ENV PYTHONPATH=/opt/tallyflow:/opt/tallyflow/demo/config \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/tallyflow/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/tallyflow/plugins

# Dataflow's workers: TALLYFLOW_SDK_CONTAINER_IMAGE names it. User and entrypoint stay Beam's, whose
# start script prepares the worker and is what Dataflow runs.
FROM apache/beam_python3.11_sdk:2.77.0 AS worker
WORKDIR /opt/tallyflow
COPY requirements.txt pyproject.toml ./
# What beam_jobs requires, in the versions of the lock file.
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" \
      > dependencies.txt \
    && pip install --no-cache-dir --constraint requirements.txt --requirement dependencies.txt
COPY beam_jobs beam_jobs
ENV PYTHONPATH=/opt/tallyflow
