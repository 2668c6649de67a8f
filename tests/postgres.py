"""A real Postgres on an address of its own, with empty data."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

PORT = 5432


@contextmanager
def postgres(user: str, password: str) -> Iterator[str]:
    """Yields the loopback address on which the server listens, at port 5432. It has one database, named after the user."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    # Each process has another loopback address, so that the port can be Postgres's own.
    address = ip_address("127.0.0.0") + os.getpid()
    owner = "nobody" if os.geteuid() == 0 else None
    if owner:  # Postgres refuses to run as root.
        shutil.chown(folder, owner)
    (file := folder / "password").write_text(password)
    file.chmod(0o644)

    def run(program: str, *arguments: str) -> None:
        command = [programs / program, *arguments]
        variables = {"PGPASSWORD": password, "LC_ALL": "C.UTF-8"}
        subprocess.run(command, user=owner, cwd=folder, env=variables, check=True, stdout=subprocess.DEVNULL)

    data = str(folder / "data")
    run(
        "initdb",
        f"--pgdata={data}",
        f"--username={user}",
        f"--pwfile={file}",
        "--auth=scram-sha-256",
        "--no-sync",
    )
    options = f"-c listen_addresses={address} -c port={PORT} -c unix_socket_directories={folder} -c fsync=off"
    try:
        run(
            "pg_ctl", "start", f"--pgdata={data}", "--wait", f"--options={options}", f"--log={folder / 'log'}"
        )
        run("createdb", f"--host={folder}", f"--username={user}", user)
        yield str(address)
    finally:
        run("pg_ctl", "stop", f"--pgdata={data}", "--mode=immediate")
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """The folder of Postgres's programs. Fails the test, and says what to install, if there is none."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: path.parts[-3])
    path = debian[-1] if debian else shutil.which("pg_ctl")
    if path is None:
        pytest.fail("Postgres is missing: this test needs its server (Debian: apt-get install postgresql)")
    return Path(path).resolve().parent
