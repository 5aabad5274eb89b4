"""What quantization cost: two models side by side over texts, as a page, as Markdown and as JSON."""

from rrwkv_export.report.gates import Gates
from rrwkv_export.report.result import Report, Row
from rrwkv_export.report.run import FILES, Options, measure, report, write_report

__all__ = ["FILES", "Gates", "Options", "Report", "Row", "measure", "report", "write_report"]
