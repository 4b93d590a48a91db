"""JupyterHub: a login, the read-only portal for labs and JupyterLab for staff (docs/portal.md).

    .venv/bin/jupyterhub -f jupyterhub_config.py

As root, it starts portals as the account BILLING_PORTAL_ACCOUNT, and JupyterLab for members of the
group BILLING_STAFF_GROUP as their own; billing_lib/portal/hub.py says more. Accounts are those of
this machine (PAM). To try it out, BILLING_PORTAL_TRY sets one password for all of them; the Hub
then listens on this machine alone and starts portals only, whatever else is set.
"""

import os
import sys
from pathlib import Path

from billing_lib.errors import BillingError, InvalidSettings
from billing_lib.portal.hub import require_accounts
from billing_lib.settings import settings
from billing_lib.workflow.notebooks import lab_environment

c = get_config()  # noqa: F821 - JupyterHub gives it

here = Path(sys.prefix) / "bin"
trial = os.environ.get("BILLING_PORTAL_TRY")
SHORTEST = 8  # JupyterHub takes no shorter password

account = os.environ.get("BILLING_PORTAL_ACCOUNT", "")
# With the password of a trial somebody would work in JupyterLab as anybody.
staff = "" if trial else os.environ.get("BILLING_STAFF_GROUP", "")
try:
    if trial is not None and len(trial) < SHORTEST:
        raise InvalidSettings(f"BILLING_PORTAL_TRY needs at least {SHORTEST} characters")
    require_accounts(settings().database, account, staff)
    environment = lab_environment()
except BillingError as error:
    sys.stderr.write(f"billing: {error}\n")
    sys.exit(2)

hub = settings().office.absolute() / "hub"  # what the Hub keeps for itself
hub.mkdir(mode=0o700, parents=True, exist_ok=True)
hub.chmod(0o700)  # sessions, the cookies' secret
c.JupyterHub.db_url = f"sqlite:///{hub / 'hub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(hub / "cookie_secret")
c.ConfigurableHTTPProxy.pid_file = str(hub / "proxy.pid")

c.JupyterHub.bind_url = os.environ.get("BILLING_PORTAL_BIND", "http://127.0.0.1:8000")
c.JupyterHub.public_url = "" if trial else os.environ.get("BILLING_HUB_URL", "")
if trial:
    port = c.JupyterHub.bind_url.rpartition(":")[2].strip("/")
    c.JupyterHub.bind_url = f"http://127.0.0.1:{port}"
    c.JupyterHub.authenticator_class = "shared-password"
    c.SharedPasswordAuthenticator.user_password = trial
c.Authenticator.allow_all = True  # what somebody sees is the ledger's to say: billing grant
c.JupyterHub.tornado_settings = {
    "slow_spawn_timeout": 120,  # the login leads right to the portal
    "cookie_options": {"secure": c.JupyterHub.public_url.startswith("https:")},
}
c.JupyterHub.template_vars = {"announcement": "Listings, invoices and statements of your lab."}

# The proxy in Python; the one that JupyterHub looks for by default needs Node.js.
c.ConfigurableHTTPProxy.command = [
    str(here / "configurable-http-proxy"),
    "--timeout=150000",
    "--proxy-timeout=150000",
]

c.JupyterHub.spawner_class = "billing_lib.portal.hub.AccountSpawner"
c.AccountSpawner.portal_account = account
c.AccountSpawner.staff_group = staff
c.Spawner.cmd = [str(here / "billing")]
c.Spawner.http_timeout = c.Spawner.start_timeout = 120
c.Spawner.environment = environment
c.Spawner.env_keep = ["PATH", "LANG", "LC_ALL"]  # and none of the Hub's secrets
