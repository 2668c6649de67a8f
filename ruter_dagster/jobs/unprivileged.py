"""Gives up the rights of root, as which SageMaker starts a container. No other file deals with users."""

from __future__ import annotations

import logging
import os
import pwd

from ruter_dagster.contracts.container import USER_VARIABLE, Container

log = logging.getLogger("ruter_dagster.jobs")


def drop_privileges(container: Container) -> None:
    """Goes on as the user that the image names, where this process is root's; that user owns what a job writes.

    SageMaker mounts /opt/ml as root's: as another user from the start, a job could not leave the reason of its failure. Where
    the platform forbids the change, the job goes on as root and says so.
    """
    name = os.environ.get(USER_VARIABLE)
    if not name or os.getuid() != 0:
        return
    try:
        user = pwd.getpwnam(name)
        for folder in container.written_by_jobs:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, user.pw_uid, user.pw_gid)
        os.initgroups(name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    except (KeyError, OSError) as error:
        log.warning("The job goes on as root: it cannot become %s: %s", name, error)
        return
    os.environ["HOME"] = user.pw_dir
