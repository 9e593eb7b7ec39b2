"""A nightly run from Airflow 3: the DAG submits it to a Ray cluster, and other DAGs may follow its asset.

Copy it into Airflow's folder of DAGs. The worker that runs the task needs `ray` of the cluster's version on
its PATH, and a checkout of Quire; the variables below say where. Replace BUCKET.
"""

import os
import subprocess
from datetime import timedelta

import pendulum
from airflow.sdk import Asset, dag, task

ANSWERS = Asset(name="quire_answers", uri="s3://BUCKET/answers")
ADDRESS = os.environ.get("QUIRE_RAY_ADDRESS", "http://127.0.0.1:8265")
CHECKOUT = os.environ.get("QUIRE_CHECKOUT", "/opt/quire")
COMMAND = [
    *("ray", "job", "submit", "--address", ADDRESS, "--working-dir", ".", "--"),
    *("python", "-m", "jobs.extract", "--input", "s3://BUCKET/scans", "--output", "s3://BUCKET/answers"),
    *("--target", "Invoice", "--max-hours", "7.5", "--fail-above", "2%", "--log-json"),
]


@dag(
    schedule="0 22 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,  # a night that was missed is part of the next one
    max_active_runs=1,  # the output's lease would refuse a second run
    tags=["quire"],
)
def quire_nightly() -> None:
    # No retries: `ray job submit` ends with 1 whatever the job's exit code, and a second try of a run that
    # failed for its failures would find all done.
    @task(outlets=[ANSWERS], retries=0, execution_timeout=timedelta(hours=10))
    def read_what_is_new() -> None:
        subprocess.run(COMMAND, cwd=CHECKOUT, check=True)

    read_what_is_new()


quire_nightly()
