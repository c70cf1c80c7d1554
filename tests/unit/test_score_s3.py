"""A corpus in a bucket: S3's protocol, spoken by a server on this machine."""

from pathlib import Path

import boto3
import pytest
from s3fs import S3FileSystem

from stages.plumbing.command import UserError
from tests.loopback_remotes import s3_remote
from tests.scoring import WRITERS, corpus, scored

pytestmark = pytest.mark.slow


def test_each_format_is_read_from_a_bucket_as_from_here(
    integer_exports: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, export = corpus(150), integer_exports["cola"]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with s3_remote(tmp_path) as remote:
        endpoint, key, secret = remote.options["endpointurl"], *remote.access.values()
        for name, value in remote.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        monkeypatch.setenv("AWS_DEFAULT_REGION", remote.options["region"])
        with pytest.raises(UserError, match=r"cannot be read .* credentials"):
            scored("s3://bucket/in.csv", tmp_path / "refused.parquet", export)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
        S3FileSystem.clear_instance_cache()  # fsspec keeps the one without a key
        store = boto3.client("s3", endpoint_url=endpoint)
        for ending, write in WRITERS.items():
            file = write(tmp_path / f"in{ending}", rows)
            store.upload_file(str(file), "bucket", f"corpus/{file.name}")
            here = scored(file, tmp_path / f"here{ending}.parquet", export, block_rows="40")
            there = scored(
                f"s3://bucket/corpus/*{ending}",
                tmp_path / f"there{ending}.parquet",
                export,
                block_rows="40",
            )
            assert there.equals(here)
            assert there["id"].tolist() == rows["id"]
        with pytest.raises(UserError, match="is no file, no folder"):
            scored("s3://bucket/nothing.csv", tmp_path / "no.parquet", export)
