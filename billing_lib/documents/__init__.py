"""Invoices as people keep them: HTML, PDF, XLSX, JSON."""
