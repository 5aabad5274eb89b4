"""What quantization cost: two models side by side over texts, as a page, as Markdown and as JSON."""

from rrwkv_export.report.gates import Gates
from rrwkv_export.report.result import Report, Row
from rrwkv_export.report.run import FILES, report, write_report

__all__ = ["FILES", "Gates", "Report", "Row", "report", "write_report"]
