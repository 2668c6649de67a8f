"""What runs have made in a branch's sandbox and Terraform does not know: each function deletes one kind of it.

A function returns what it deleted, one line each. It raises `PermanentFailure` or an error of boto3 if something is left. What Terraform
creates does not belong here.
"""
