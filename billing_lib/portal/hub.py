"""JupyterHub's servers, and the accounts of this machine as which they run.

    staff    billing lab       as their own account
    labs     billing portal    as the portal's account, under the lab's own login of the ledger

The portal's account reads price books, archive and store, so labs' accounts need to read none of
them, and need not exist on this machine. PostgreSQL lets that account connect as the labs' logins
(``pg_ident.conf``, docs/portal.md), and shows it the rows of the lab who asks. Without
``portal_account`` each portal runs as the account of the person who logged in.
"""

import grp
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyterhub.spawner import LocalProcessSpawner
from sqlalchemy import make_url
from traitlets import Unicode

from billing_lib.errors import InvalidSettings


def require_accounts(database: str, portal_account: str, staff_group: str) -> None:
    """Raise InvalidSettings if account or group is not there, or one account cannot be many logins.

    Either may be empty.
    """
    try:
        _ = portal_account and pwd.getpwnam(portal_account)
        _ = staff_group and grp.getgrnam(staff_group)
    except KeyError as error:
        raise InvalidSettings(
            f"this machine has no such account or group: {error.args[0]}",
            remedy="check BILLING_PORTAL_ACCOUNT and BILLING_STAFF_GROUP",
        ) from None
    if portal_account and make_url(database).get_backend_name() != "postgresql":
        raise InvalidSettings(
            "one account can read for all labs only where the ledger is on PostgreSQL",
            remedy="leave out BILLING_PORTAL_ACCOUNT, or set BILLING_DATABASE",
        )


class AccountSpawner(LocalProcessSpawner):
    """Starts JupyterLab for staff and the portal for everybody else."""

    portal_account = Unicode("", help="The account that reads for labs.").tag(config=True)
    staff_group = Unicode("", help="The group whose members work in JupyterLab.").tag(config=True)

    @property
    def staff(self) -> bool:
        """Whether the user is a member of the group of staff."""
        if not self.staff_group:
            return False
        try:
            account = pwd.getpwnam(self.user.name)
        except KeyError:
            return False
        group = grp.getgrnam(self.staff_group).gr_gid
        return group in os.getgrouplist(account.pw_name, account.pw_gid)

    @property
    def account(self) -> str:
        """The account as which the user's server runs."""
        own: str = self.user.name
        return own if self.staff else self.portal_account or own

    def make_preexec_fn(self, name: str) -> Callable[[], None]:
        """Becoming the account; ``name`` is the user."""
        become: Callable[[], None] = super().make_preexec_fn(self.account)
        return become

    def user_env(self, env: dict[str, Any]) -> dict[str, Any]:
        """The account's home, and the user's own login of the ledger."""
        account = pwd.getpwnam(self.account)
        own = {"USER": account.pw_name, "HOME": account.pw_dir, "SHELL": account.pw_shell}
        if self.staff:  # notebooks are signed for one account
            own["BILLING_OFFICE"] = str(Path(account.pw_dir) / "billing")
        elif self.portal_account:
            url = make_url(env["BILLING_DATABASE"]).set(username=self.user.name)
            own["BILLING_DATABASE"] = url.render_as_string(hide_password=False)
        return env | own

    def get_args(self) -> list[str]:
        """The command of the server, after ``billing``."""
        return ["lab" if self.staff else "portal", *super().get_args()]
