"""Real DVC remotes on this machine alone: S3's protocol by moto's server, SSH by OpenSSH's sshd."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Remote:
    """One that is up.

    Attributes:
        options: of `dvc remote modify`, what all may know.
        access: the same, but for each colleague's own `--local`.
        wrong: such as the server refuses.
        environment: variables of someone who has set up nothing.
    """

    url: str
    options: dict[str, str]
    access: dict[str, str]
    wrong: dict[str, str]
    environment: dict[str, str]


@contextmanager
def s3_remote(folder: Path) -> Iterator[Remote]:
    """A bucket whose one user has a key; all others are refused."""
    import boto3
    import requests
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    try:
        session = boto3.Session("any", "any", region_name="us-east-1")
        session.client("s3", endpoint_url=endpoint).create_bucket(Bucket="bucket")
        users = session.client("iam", endpoint_url=endpoint)
        users.create_user(UserName="colleague")
        users.put_user_policy(
            UserName="colleague",
            PolicyName="all",
            PolicyDocument='{"Version": "2012-10-17", "Statement": '
            '[{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}',
        )
        key = users.create_access_key(UserName="colleague")["AccessKey"]
        requests.post(
            f"{endpoint}/moto-api/reset-auth", data="0", timeout=10
        )  # keys count from now
        yield Remote(
            url="s3://bucket/bert",
            options={"endpointurl": endpoint, "region": "us-east-1"},
            access={
                "access_key_id": key["AccessKeyId"],
                "secret_access_key": key["SecretAccessKey"],
            },
            wrong={"access_key_id": key["AccessKeyId"], "secret_access_key": "wrong"},
            environment={
                "AWS_EC2_METADATA_DISABLED": "true",  # else a cloud's machine asks its own host
                "AWS_CONFIG_FILE": str(folder / "none"),
                "AWS_SHARED_CREDENTIALS_FILE": str(folder / "none"),
            },
        )
    finally:
        server.stop()


@contextmanager
def ssh_remote(folder: Path) -> Iterator[Remote]:
    """An sshd of this user that takes one key and no password."""
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if sshd is None:
        pytest.skip("no sshd on this machine: Debian's package is openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # what the service would have made at start
    for name in ("host", "colleague", "stranger"):
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(key, check=True)
    port = free_port()
    (folder / "sshd_config").write_text(
        f"""
        ListenAddress 127.0.0.1:{port}
        HostKey {folder}/host
        AuthorizedKeysFile {folder}/colleague.pub
        PidFile none
        StrictModes no
        UsePAM no
        PasswordAuthentication no
        KbdInteractiveAuthentication no
        MaxStartups 100
        Subsystem sftp internal-sftp
        """
    )
    (folder / "remote").mkdir()
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([sshd, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
    try:
        wait_for(port, server, folder / "log")
        yield Remote(
            url=f"ssh://127.0.0.1{folder}/remote",
            options={"port": str(port), "timeout": "20"},
            access={"user": getpass.getuser(), "keyfile": str(folder / "colleague")},
            wrong={"user": getpass.getuser(), "keyfile": str(folder / "stranger")},
            environment={"HOME": str(folder), "SSH_AUTH_SOCK": ""},  # no keys of a developer's own
        )
    finally:
        server.terminate()
        server.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        assert server.poll() is None, log.read_text()
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(log.read_text())
