"""Reports: what runs measured, as figures, an HTML page, CSV and Markdown."""

from reasoner.system.machine import require_extra

require_extra("eval", "evaluation")
