"""Switches the process from root, as which SageMaker starts a container, to an unprivileged user."""

from __future__ import annotations

import logging
import os
import pwd

from ruter_dagster.contracts.container import USER_VARIABLE, Container

log = logging.getLogger("ruter_dagster.jobs")


def drop_privileges(container: Container) -> None:
    """Continues as the user that the image names, if the process runs as root. The user then owns the folders of the job.

    The image cannot start as that user, because SageMaker mounts /opt/ml for root: the job could not write its failure reason.
    If the platform forbids the switch, the job continues as root and logs a warning.
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
        log.warning("The job continues as root, because it cannot become user %s: %s", name, error)
        return
    os.environ["HOME"] = user.pw_dir
