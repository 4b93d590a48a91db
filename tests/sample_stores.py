"""Stores for tests, on loopback: an S3 server (moto's, which speaks HTTP) and an SFTP server."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh
import boto3
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

from billing_lib import folders

ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "billing",
    "AWS_SECRET_ACCESS_KEY": "not-a-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """A running server; the variables by which a client finds it.

    What this process keeps of clients ends with the server: fsspec would give the next one's tests
    a client of this address.
    """
    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it says every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield ACCOUNT | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    server.stop()
    S3FileSystem.clear_instance_cache()
    folders._driver.cache_clear()


def s3_client(variables: dict[str, str]) -> Any:
    """Amazon's own client, which the program does not use."""
    return boto3.client(
        "s3",
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        region_name=variables["AWS_DEFAULT_REGION"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
    )


def make_locked_bucket(client: Any, name: str) -> None:
    """A bucket that keeps each version of an object for ten years, whoever asks."""
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    kept = {"Mode": "COMPLIANCE", "Years": 10}
    client.put_object_lock_configuration(
        Bucket=name,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": kept},
        },
    )


@contextmanager
def sftp_server(home: Path, *, known: bool = True) -> Iterator[int]:
    """A running server's port; the account whose home this is may log in, by its key.

    ``known`` puts the server's key where the account's clients look for it.
    """
    ssh = home / ".ssh"
    ssh.mkdir(mode=0o700, parents=True)
    key, host = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    key.write_private_key(ssh / "id_ed25519")
    key.write_public_key(ssh / "authorized_keys")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[host],
            authorized_client_keys=str(ssh / "authorized_keys"),
            sftp_factory=True,
        )

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result()
    port = server.get_port()
    if known:
        public = host.export_public_key().decode()
        (ssh / "known_hosts").write_text(f"[127.0.0.1]:{port} {public}")
    yield port
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
