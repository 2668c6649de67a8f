"""Starts a job as a launcher does, its standard input held open, and waits. A test ends this process to see the job end."""

import os
import subprocess
import sys

if __name__ == "__main__":
    job = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, env=os.environ, start_new_session=True)
    job.wait()
