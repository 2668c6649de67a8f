"""Starts a job like a launcher: holds its standard input open and waits. A test kills this process to see the job end."""

import os
import subprocess
import sys

if __name__ == "__main__":
    job = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, env=os.environ, start_new_session=True)
    job.wait()
