"""NEMO-billing prices a sample: run by the peers' own Python, prints one line of JSON.

    build/peers/bin/python benchmarks/peers/nemo_rating.py sample.json nemo.sqlite3

The sample (written by benchmarks/common/peers.py) holds rates and sessions on tools. They become
rate categories, tools, rates, projects and usage events in a SQLite database, as NEMO-billing's
own tests make them; what is timed is its ``get_billable_items`` over their month, nothing else.
"""

import json
import resource
import shutil
import sys
import time
from contextlib import redirect_stdout
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

SETTINGS: dict[str, Any] = {
    "SECRET_KEY": "only for measuring",
    "USE_TZ": True,
    "TIME_ZONE": "America/New_York",
    "DEFAULT_AUTO_FIELD": "django.db.models.AutoField",
    "AUTH_USER_MODEL": "NEMO.User",
    "ROOT_URLCONF": "NEMO.urls",
    "INSTALLED_APPS": [
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.humanize",
        "django.contrib.messages",
        "django.contrib.sessions",
        "django.contrib.staticfiles",
        "NEMO_billing.rates",
        "NEMO_billing.invoices",
        "NEMO_billing.cap_discount",
        "NEMO_billing.prepayments",
        "NEMO_billing",
        "NEMO",
        "auditlog",
        "mptt",
        "rest_framework",
        "django_filters",
    ],
    "TEMPLATES": [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
}


def _load(sample: dict[str, Any]) -> None:
    from NEMO.models import Account, Project, Tool, UsageEvent, User
    from NEMO_billing.invoices.models import ProjectBillingDetails
    from NEMO_billing.rates.models import Rate, RateCategory, RateType

    kind = RateType.objects.get(type=RateType.Type.TOOL_USAGE)
    kind.category_specific = True
    kind.save()
    groups = {name: RateCategory.objects.create(name=name) for name in sample["groups"]}
    tools = {name: Tool.objects.create(name=name) for name in sample["items"]}
    for rate in sample["rates"]:
        Rate.objects.create(
            type=kind,
            tool=tools[rate["item"]],
            category=groups[rate["group"]],
            amount=Decimal(rate["price"]),
            minimum_charge=rate["minimum"] and Decimal(rate["minimum"]),
        )
    projects = {}
    for name, group in sample["projects"].items():
        project = Project.objects.create(name=name, account=Account.objects.create(name=name))
        ProjectBillingDetails.objects.create(project=project, category=groups[group])
        projects[name] = project
    users = {
        name: User.objects.create(username=name, first_name=name, last_name=name, badge_number=name)
        for name in sorted({event["user"] for event in sample["usage"]})
    }
    UsageEvent.objects.bulk_create(
        UsageEvent(
            user=users[event["user"]],
            operator=users[event["user"]],
            project=projects[event["project"]],
            tool=tools[event["item"]],
            start=datetime.fromisoformat(event["start"]),
            end=datetime.fromisoformat(event["end"]),
            has_ended=number,  # as its save() numbers what has ended
        )
        for number, event in enumerate(sample["usage"], start=1)
    )


def _price(sample: dict[str, Any]) -> dict[str, Any]:
    from NEMO_billing.invoices.processors import invoice_data_processor_class

    first, last = (datetime.fromisoformat(sample[name]) for name in ("first", "last"))
    seconds = []
    for _ in range(sample["times"]):
        begun = time.perf_counter()
        billables = invoice_data_processor_class.get_billable_items(first, last)
        seconds.append(time.perf_counter() - begun)
    amounts = {billable.item.has_ended: str(billable.amount) for billable in billables}
    return {
        "amounts": [amounts[number] for number in sorted(amounts)],
        "seconds": min(seconds),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main(sample_path: Path, database: Path) -> None:
    """Price the sample as often as it says; print the amounts in its order, and the best seconds.

    The migrations of NEMO take about a minute, so an empty database is kept beside ``database``.
    """
    import django
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection, transaction

    empty = database.with_suffix(".empty")
    database.unlink(missing_ok=True)
    made = empty.exists()
    if made:
        shutil.copyfile(empty, database)
    files = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(database)}}
    settings.configure(**SETTINGS, DATABASES=files)
    django.setup()
    if not made:
        with redirect_stdout(sys.stderr):  # NEMO's migrations print, whatever they are told
            call_command("migrate", verbosity=0)
        connection.close()
        shutil.copyfile(database, empty)
    sample = json.loads(sample_path.read_text())
    with transaction.atomic():
        _load(sample)
    print(json.dumps(_price(sample)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
