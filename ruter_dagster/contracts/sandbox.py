"""A branch's sandbox: its id, and the names of its resources, which all follow from the id.

It needs nothing but Python, because scripts/cloud/sandbox_id runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass

from ruter_dagster.contracts.errors import PermanentFailure

SANDBOX = re.compile(r"s-[a-z0-9]{1,8}-[0-9a-f]{6}")
"""An id. All ids end with six digits, so no id is the beginning of another."""
NORWEGIAN = str.maketrans({"æ": "ae", "ø": "o", "å": "a"})
SLUG_LENGTH = 63


def sandbox_id(branch: str) -> str:
    """`s-`, up to 8 letters and digits of the branch's last part, and 6 digits of the hash of its whole name."""
    last = branch.rsplit("/", 1)[-1].lower().translate(NORWEGIAN)
    ascii_only = unicodedata.normalize("NFKD", last).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]", "", ascii_only)[:8] or "branch"
    return f"s-{slug}-{hashlib.sha256(branch.encode()).hexdigest()[:6]}"


def tag(branch: str) -> str:
    """The branch with `_` for each letter that AWS refuses, at most 256 characters."""
    return re.sub(r"[^A-Za-z0-9 _.:/=+@-]", "_", branch)[:256]


def ref_slug(branch: str) -> str:
    """The branch as GitLab writes it into CI_COMMIT_REF_SLUG, and so into the names of environments."""
    return re.sub(r"[^a-z0-9]", "-", branch.lower())[:SLUG_LENGTH].strip("-")


@dataclass(frozen=True)
class Sandbox:
    """A sandbox and the names of its resources. Make it with `Sandbox.of`, which refuses other environments."""

    id: str

    @classmethod
    def of(cls, text: str) -> Sandbox:
        """Raises `PermanentFailure` if the text is not the id of a sandbox."""
        if not SANDBOX.fullmatch(text):
            raise PermanentFailure(
                f"{text!r} is no sandbox; dev, test, stage and prod are none either. Allowed: an id such as s-mybranch-1a2b3c, "
                "which `scripts/cloud/sandbox_id BRANCH` prints."
            )
        return cls(text)

    @property
    def name(self) -> str:
        """Name, or prefix of the names, of its resources in AWS."""
        return f"rd-{self.id}"

    @property
    def database(self) -> str:
        """Glue database of its tables."""
        return self.name.replace("-", "_")

    @property
    def topic_prefix(self) -> str:
        """Prefix of its topics and consumer groups in Kafka."""
        return f"{self.id}."

    def owns(self, name: str) -> bool:
        """Whether a resource with this name is the sandbox's: `rd-<id>` itself, or `rd-<id>-…`."""
        return name == self.name or name.startswith(f"{self.name}-")
