"""Real text for the pilot: where it comes from, how it is cleaned, and how a region's folder is laid out.

`corpus.prepare` is the way in. `debian` and `plone` fetch, `folder` takes a user's own text, `groff`,
`markup` and `po` read formats, `text` selects paragraphs, `store` keeps the result on disk, `regions` says
who holds what.
"""
