"""What Airflow's own operator takes to copy objects from S3 to GCS; runs in an environment with its providers.

Connections come from the environment. Only the work itself is timed: not the start, not the imports.
"""

import json
import sys
import time

from airflow.providers.google.cloud.transfers.s3_to_gcs import S3ToGCSOperator  # type: ignore[import-not-found] # it is in that environment only


def main() -> None:
    """Copy from a bucket's prefix to a URL, and print the seconds and the number of objects."""
    bucket, prefix, target = sys.argv[1:]
    operator = S3ToGCSOperator(
        task_id="copy", bucket=bucket, prefix=prefix, dest_gcs=target, aws_conn_id="from", gcp_conn_id="to"
    )
    began = time.perf_counter()
    copied = operator.execute({})
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "objects": len(copied)}))


if __name__ == "__main__":
    main()
