"""The three-region pilot on one machine: its orchestration, its result document and its report.

`pilot` runs it, `result` is the document that `demo --json` prints, `summary` draws the conclusions from it,
`plots` and `report` show them. The report side reads only the document, so a report can be made again from a
saved one.
"""
