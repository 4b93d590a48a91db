"""Where the portal listens, by itself and started by JupyterHub; tests/browser opens it."""

from pathlib import Path

import pytest
from traitlets.config import Config

from billing_lib.errors import InvalidSettings
from billing_lib.portal import server
from billing_lib.portal.pages import PAGES, portal_settings
from billing_lib.program import NOTEBOOKS


def test_by_itself_it_listens_on_this_machine_alone_and_asks_for_its_token() -> None:
    stated = portal_settings({})
    assert (stated["ip"], stated["auto_token"]) == ("127.0.0.1", True)


@pytest.mark.parametrize(
    "option", ["--token=", "--Voila.auto_token=False", "--IdentityProvider.token="]
)
def test_no_option_takes_its_token_away(option: str, tmp_path: Path) -> None:
    config = Config({"Portal": portal_settings({}) | {"root_dir": str(tmp_path)}})
    app = server.Portal(config=config)
    app.initialize([option])
    with pytest.raises(InvalidSettings, match="the portal needs its token"):
        app.init_settings()


def test_the_hub_says_where() -> None:
    stated = portal_settings(
        {
            "JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:4321/user/mia/",
            "JUPYTERHUB_SERVICE_PREFIX": "/user/mia/",
        }
    )
    assert (stated["ip"], stated["port"], stated["base_url"]) == ("127.0.0.1", 4321, "/user/mia/")


def test_its_pages_are_notebooks_that_change_nothing() -> None:
    for name in PAGES:
        text = (NOTEBOOKS / f"{name}.ipynb").read_text("utf-8")
        assert f"from billing_lib.panels.lab import {name.capitalize()}Panel" in text
