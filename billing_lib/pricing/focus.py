"""The FOCUS keys of a price book: which service category items belong to.

focus: {service_category: Compute, items: {storage: Storage}}
"""

from typing import Literal

from pydantic import Field

from billing_lib.pricing.fields import Entry

ServiceCategory = Literal[
    "AI and Machine Learning",
    "Analytics",
    "Business Applications",
    "Compute",
    "Databases",
    "Developer Tools",
    "Identity",
    "Integration",
    "Internet of Things",
    "Management and Governance",
    "Media",
    "Migration",
    "Mobile",
    "Multicloud",
    "Networking",
    "Other",
    "Security",
    "Storage",
    "Web",
]
"""The allowed values of FOCUS 1.2, column ServiceCategory."""


class Focus(Entry):
    """How a facility's items are classified in the FOCUS dataset (docs/focus.md)."""

    service_category: ServiceCategory = "Other"
    items: dict[str, ServiceCategory] = Field(default_factory=dict)
    """Of items that belong to another."""
