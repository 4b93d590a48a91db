"""Internal billing for core facilities, reproducible to the cent."""

import sys

# jsonschema, which comes with all that reads notebooks, builds parsers of IRIs when it is imported:
# a second of every start, and six more at an unlucky depth of calls (its issue 1428). No notebook
# holds an IRI. A module that is None counts as not installed, and jsonschema does without.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
